/** The scheduler's own dry run of what the form says now. */
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { api, data } from "../../api/client";
import { useView } from "../../stream/hooks";
import type { LaunchRequest } from "./draft";
import type { Plan } from "./ghosts";

const TYPING = 250;

/** ``paused`` while the launch itself is on its way: what it has taken is no reason against it. */
export function usePlan(request: LaunchRequest | null, paused = false): { plan: Plan | undefined; planning: boolean; error: Error | null } {
  const asked = useMemo(() => JSON.stringify(request), [request]);
  const [settled] = useDebouncedValue(asked, TYPING);
  const { cluster } = useView();
  // Another replica or worker, and the plan may be another one.
  const room = useMemo(() => [...cluster.replicas.values()].map((it) => `${it.replica_model_uid}${it.worker_id}${it.reserved_bytes}`).join() + [...cluster.workers.values()].map((it) => it.worker_id + it.state).join(), [cluster.replicas, cluster.workers]);
  const found = useQuery({
    queryKey: ["plan", settled, room],
    enabled: settled !== "null" && !paused,
    queryFn: ({ signal }) => data(api.POST("/v1/plan", { body: JSON.parse(settled) as never, signal })) as Promise<Plan>,
    placeholderData: keepPreviousData,
    staleTime: 5_000,
  });
  const none = settled === "null" || request === null;
  return { plan: none ? undefined : found.data, planning: found.isFetching || settled !== asked, error: none || paused || found.isPlaceholderData ? null : found.error };
}
