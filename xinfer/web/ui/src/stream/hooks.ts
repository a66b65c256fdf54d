import { createContext, useCallback, useContext, useSyncExternalStore } from "react";

import type { Model, Reading, Replica, Worker } from "./fold";
import { ClusterStore, type View } from "./store";

export const StoreContext = createContext<ClusterStore>(new ClusterStore());

export function useView(): View {
  const store = useContext(StoreContext);
  return useSyncExternalStore(store.subscribe, store.get);
}

/** The last two minutes of a worker; only who asks is drawn anew by a reading. */
export function useReadings(workerId: string): readonly Reading[] {
  const store = useContext(StoreContext);
  const subscribe = useCallback((listener: () => void) => store.subscribeReadings(workerId, listener), [store, workerId]);
  return useSyncExternalStore(subscribe, () => store.readingsOf(workerId));
}

export function useWorkers(): Worker[] {
  return [...useView().cluster.workers.values()].sort((a, b) => a.address.localeCompare(b.address, undefined, { numeric: true }));
}

export function useModels(): Model[] {
  return [...useView().cluster.models.values()].sort((a, b) => a.created_ts - b.created_ts);
}

export function useReplicas(modelUid: string): Replica[] {
  return [...useView().cluster.replicas.values()].filter((it) => it.model_uid === modelUid).sort((a, b) => a.replica_id - b.replica_id);
}
