import { Button, Group, Modal, Select } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";

import { api, data } from "../../api/client";
import { useText } from "../../i18n";
import type { Replica } from "../../stream/fold";
import { useWorkers } from "../../stream/hooks";
import { Failure } from "../Failure";

interface Asking {
  title: string;
  go: string;
  close: () => void;
  act: () => Promise<unknown>;
  children?: ReactNode;
}

/** Asks before it acts; a failure stays to be read. */
export function Dialog({ title, go, close, act, children }: Asking) {
  const text = useText();
  const action = useMutation({ mutationFn: act, onSuccess: close });
  return (
    <Modal opened onClose={close} title={title} closeButtonProps={{ "aria-label": text("common.close") }} centered>
      {children}
      {action.isError && <Failure error={action.error} />}
      <Group mt="md" justify="flex-end">
        <Button variant="default" onClick={close}>{text("common.cancel")}</Button>
        <Button loading={action.isPending} onClick={() => action.mutate()} data-autofocus>{go}</Button>
      </Group>
    </Modal>
  );
}

export function StopDialog({ replica, close }: { replica: Replica; close: () => void }) {
  const text = useText();
  const path = { model_uid: replica.model_uid, replica_id: replica.replica_model_uid };
  return <Dialog title={text("model.stopone.sure", { replica: replica.replica_model_uid })} go={text("model.stopone")} close={close} act={() => data(api.DELETE("/v1/models/{model_uid}/replicas/{replica_id}", { params: { path } }))} />;
}

/** The new replica is started first; the old one goes when it is ready. */
export function MoveDialog({ replica, close }: { replica: Replica; close: () => void }) {
  const text = useText();
  const [slot, setSlot] = useState("");
  const slots = useSlots();
  const path = { model_uid: replica.model_uid, replica_id: replica.replica_model_uid };
  const act = () => data(api.POST("/v1/models/{model_uid}/replicas/{replica_id}/move", { params: { path }, body: (slot ? { slots: [slot] } : {}) as never }));
  return (
    <Dialog title={text("model.moveto", { replica: replica.replica_model_uid })} go={text("model.move")} close={close} act={act}>
      <SlotSelect slots={slots} slot={slot} choose={setSlot} />
    </Dialog>
  );
}

export function AddDialog({ modelUid, close }: { modelUid: string; close: () => void }) {
  const text = useText();
  const [slot, setSlot] = useState("");
  const slots = useSlots();
  const act = () => data(api.POST("/v1/models/{model_uid}/replicas", { params: { path: { model_uid: modelUid } }, body: (slot ? { slots: [slot] } : { replica: 1 }) as never }));
  return <Dialog title={text("model.add")} go={text("model.add")} close={close} act={act}><SlotSelect slots={slots} slot={slot} choose={setSlot} /></Dialog>;
}

function useSlots(): string[] {
  return useWorkers().flatMap((worker) => worker.devices.map((device) => device.slot));
}

function SlotSelect({ slots, slot, choose }: { slots: readonly string[]; slot: string; choose: (slot: string) => void }) {
  const text = useText();
  return <Select searchable limit={100} allowDeselect={false} label={text("model.slot")} value={slot} onChange={(value) => choose(value ?? "")} data={[{ value: "", label: text("model.anywhere") }, ...slots]} />;
}
