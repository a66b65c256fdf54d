import { memo } from "react";

import { useText } from "../i18n";
import type { Key } from "../i18n/en";
import type { Replica, Worker } from "../stream/fold";
import { MemoryBar } from "./MemoryBar";
import { ReplicaChip } from "./ReplicaChip";
import type { Device, Ghost, SlotRef, Verdict } from "./slot";
import { Sparkline } from "./Sparkline";

export interface TileProps {
  worker: Worker;
  device: Device;
  replicas: readonly Replica[];
  ghosts?: readonly Ghost[] | undefined;
  verdict?: Verdict | undefined;
  pickLabel?: string | undefined;
  onPick?: ((slot: SlotRef) => void) | undefined;
  over?: boolean;
  /** Given the tile's element, for who wants to measure it. */
  hold?: ((node: HTMLElement | null) => void) | undefined;
}

const NONE: readonly Ghost[] = [];

/** One device: how busy, how full, and who is on it. */
export const DeviceTile = memo(function DeviceTile({ worker, device, replicas, ghosts = NONE, verdict, pickLabel, onPick, over, hold }: TileProps) {
  const text = useText();
  const gone = worker.state === "lost" || worker.state === "suspect";
  const refused = verdict !== undefined && !verdict.fits;
  return (
    <li ref={hold} className="tile" data-slot={device.slot} data-gone={gone || undefined} data-refused={refused || undefined} data-over={over || undefined}>
      {onPick && pickLabel && <button type="button" className="tile-pick" aria-label={pickLabel} title={verdict?.reason || pickLabel} onClick={() => onPick({ workerId: worker.worker_id, slot: device.slot })} />}
      <div className="tile-head">
        <strong>{device.index}</strong>
        <span className="tile-name" title={`${device.name}, ${device.uuid}`}>{device.name}</span>
        <span className="small quiet" title={text(`kind.${device.kind}` as Key)}>{device.kind.toUpperCase()}</span>
      </div>
      <Sparkline workerId={worker.worker_id} uuid={device.uuid} replicas={replicas.map((replica) => replica.replica_model_uid)} />
      <MemoryBar device={device} replicas={replicas} ghosts={ghosts} />
      <div className="chips">
        {replicas.map((replica) => <ReplicaChip key={replica.replica_model_uid} replica={replica} />)}
        {ghosts.map((ghost) => (
          <span key={ghost.ordinal} className="chip ghost" data-ghost={ghost.ordinal} style={{ color: "light-dark(#0f7261, #78c0b1)" }} title={text("launch.ghost", { n: ghost.ordinal })}>
            {ghost.ordinal} · {text(ghost.pinned ? "launch.pinned" : "launch.auto")}
          </span>
        ))}
      </div>
      {verdict?.reason && <div className="small quiet wrap" data-verdict>{verdict.reason}</div>}
    </li>
  );
});
