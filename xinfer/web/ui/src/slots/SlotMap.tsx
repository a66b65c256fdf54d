import "./slots.css";

import { Badge } from "@mantine/core";
import { type ComponentType, memo, type ReactNode, useEffect, useMemo, useState } from "react";

import { useText } from "../i18n";
import type { Key } from "../i18n/en";
import { seconds } from "../i18n/format";
import type { Replica, Worker } from "../stream/fold";
import { useView, useWorkers } from "../stream/hooks";
import { DeviceTile, type TileProps } from "./DeviceTile";
import { byDevice, type Ghost, type SlotRef, type Verdict } from "./slot";

export interface SlotMapProps {
  /** By slot, ``ADDR@0``. */
  ghosts?: ReadonlyMap<string, readonly Ghost[]>;
  verdicts?: ReadonlyMap<string, Verdict>;
  onPick?: (slot: SlotRef) => void;
  pickLabel?: (slot: string) => string;
  /** What stands for a tile, where it does more than show. */
  Tile?: ComponentType<TileProps>;
  actions?: (worker: Worker) => ReactNode;
}

const EMPTY: readonly Replica[] = [];

/** A row for each worker, a tile for each device. */
export function SlotMap(props: SlotMapProps) {
  const { cluster } = useView();
  const workers = useWorkers();
  const there = useMemo(() => byDevice(cluster.replicas.values()), [cluster.replicas]);
  return <>{workers.map((worker) => <WorkerRow key={worker.worker_id} worker={worker} there={there} {...props} />)}</>;
}

function sameRow(before: SlotMapProps & RowProps, after: SlotMapProps & RowProps): boolean {
  const { there: old, ...rest } = before;
  const { there: now, ...others } = after;
  if (Object.entries(rest).some(([name, value]) => others[name as keyof typeof others] !== value)) return false;
  return old === now || after.worker.devices.every((device) => same(old.get(device.uuid) ?? EMPTY, now.get(device.uuid) ?? EMPTY));
}

function same(before: readonly Replica[], after: readonly Replica[]): boolean {
  return before.length === after.length && before.every((replica, place) => replica === after[place]);
}

interface RowProps {
  worker: Worker;
  there: ReadonlyMap<string, readonly Replica[]>;
}

const WorkerRow = memo(function WorkerRow({ worker, there, ghosts, verdicts, onPick, pickLabel, Tile = DeviceTile, actions }: SlotMapProps & RowProps) {
  const text = useText();
  const colour = { alive: "brand", draining: "orange", suspect: "orange", lost: "gray" }[worker.state] ?? "gray";
  return (
    <section className="row panel" data-worker={worker.worker_id} data-state={worker.state} aria-label={worker.address}>
      <div className="row-head">
        <strong className="mono wrap">{worker.address}</strong>
        <span className="quiet small">{worker.host}</span>
        <Badge size="sm" variant="light" color={colour}>{text(`worker.${worker.state}` as Key)}</Badge>
        {(worker.state === "lost" || worker.state === "suspect") && <LastSeen at={worker.last_seen} />}
        {actions?.(worker)}
      </div>
      <ul className="tiles">
        {worker.devices.map((device) => (
          <Tile
            key={device.uuid}
            worker={worker}
            device={device}
            replicas={there.get(device.uuid) ?? EMPTY}
            ghosts={ghosts?.get(device.slot)}
            verdict={verdicts?.get(device.slot)}
            pickLabel={pickLabel?.(device.slot)}
            onPick={onPick}
          />
        ))}
      </ul>
    </section>
  );
}, sameRow);

function LastSeen({ at }: { at: number }) {
  const text = useText();
  const [now, setNow] = useState(() => Date.now() / 1000);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now() / 1000), 1000);
    return () => clearInterval(timer);
  }, []);
  return <span className="small quiet">{text("worker.seen", { ago: seconds(now - at) })}</span>;
}
