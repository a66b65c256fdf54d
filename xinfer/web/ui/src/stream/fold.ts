/** The cluster as the event stream tells it. Pure: a message in, the next state out. */
import type { Schemas } from "../api/client";

export type Worker = Schemas["FeedWorker"];
export type Model = Schemas["FeedModel"];
export type Replica = Schemas["FeedReplica"];
export type Change = Schemas["FeedChange"];
export type Reading = Schemas["FeedReading"];
export type Snapshot = Schemas["FeedSnapshot"];

export interface Message {
  event: string;
  id: string;
  data: unknown;
}

export interface Cluster {
  /** 0 until the first snapshot. */
  epoch: number;
  number: number;
  /** The supervisor answers. */
  present: boolean;
  workers: ReadonlyMap<string, Worker>;
  models: ReadonlyMap<string, Model>;
  replicas: ReadonlyMap<string, Replica>;
}

export const EMPTY: Cluster = { epoch: 0, number: 0, present: true, workers: new Map(), models: new Map(), replicas: new Map() };

export function fold(cluster: Cluster, message: Message): Cluster {
  switch (message.event) {
    case "snapshot": {
      const it = message.data as Snapshot;
      return {
        epoch: it.epoch,
        number: it.number,
        present: true,
        workers: new Map(it.workers.map((worker) => [worker.worker_id, worker])),
        models: new Map(it.models.map((model) => [model.model_uid, model])),
        replicas: new Map(it.replicas.map((replica) => [replica.replica_model_uid, replica])),
      };
    }
    case "change":
      return changed(cluster, message.data as Change);
    case "away":
      return { ...cluster, present: false };
    case "back":
      return { ...cluster, present: true };
    default:
      return cluster;
  }
}

function changed(cluster: Cluster, change: Change): Cluster {
  if (change.number <= cluster.number) return cluster; // it has been seen
  const next = { ...cluster, number: change.number, present: true };
  if (change.kind === "worker") next.workers = put(cluster.workers, change.key, change.worker);
  else if (change.kind === "model") next.models = put(cluster.models, change.key, change.model);
  else next.replicas = put(cluster.replicas, change.key, change.replica);
  return next;
}

function put<T>(table: ReadonlyMap<string, T>, key: string, value: T | null | undefined): ReadonlyMap<string, T> {
  const next = new Map(table);
  if (value == null) next.delete(key);
  else next.set(key, value);
  return next;
}
