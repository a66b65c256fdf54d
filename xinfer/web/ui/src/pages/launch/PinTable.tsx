import { Button, Group, Select, Table } from "@mantine/core";
import { useMemo } from "react";

import { useText } from "../../i18n";
import { useWorkers } from "../../stream/hooks";
import { pin, unpinAll } from "./draft";
import { placeOf, type Plan } from "./ghosts";
import type { Editing } from "./WhatForm";

/** The same pins as on the map, as a table. */
export function PinTable({ draft, change, plan }: Editing & { plan: Plan | undefined }) {
  const text = useText();
  const workers = useWorkers();
  const slots = useMemo(() => workers.flatMap((worker) => worker.devices.map((device) => device.slot)), [workers]);
  return (
    <section className="panel scroll">
      <Group justify="space-between">
        <h2>{text("common.replicas")}</h2>
        {draft.pins.some((slot) => slot !== null) && <Button size="compact-xs" variant="subtle" onClick={() => change(unpinAll(draft))}>{text("launch.unpin.all")}</Button>}
      </Group>
      <Table verticalSpacing={4}>
        <Table.Thead><Table.Tr><Table.Th>{text("common.replica")}</Table.Th><Table.Th>{text("launch.slot")}</Table.Th><Table.Th>{text("launch.why")}</Table.Th></Table.Tr></Table.Thead>
        <Table.Tbody>
          {draft.pins.map((own, ordinal) => {
            const planned = plan?.fits ? plan.replicas[ordinal] : undefined;
            const { pinned } = placeOf(ordinal, own, plan);
            const free = text(pinned && own === null ? "launch.pinned" : "launch.auto");
            return (
              <Table.Tr key={ordinal} data-ordinal={ordinal}>
                <Table.Td>{ordinal}</Table.Td>
                <Table.Td>
                  <Select size="xs" aria-label={`${text("launch.slot")} ${ordinal}`} searchable allowDeselect={false} limit={100} value={own ?? ""} onChange={(slot) => change(pin(draft, ordinal, slot || null))}
                    data={[{ value: "", label: own === null && planned ? `${free}: ${planned.slot}` : free }, ...slots]} />
                </Table.Td>
                <Table.Td className="small wrap">{planned?.why}</Table.Td>
              </Table.Tr>
            );
          })}
        </Table.Tbody>
      </Table>
    </section>
  );
}
