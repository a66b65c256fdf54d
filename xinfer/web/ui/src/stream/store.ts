/** The one long-lived state of the pages: the cluster by its event stream, the newest readings, the last changes. */
import { headers, problemOf, refused } from "../api/client";
import { type Change, type Cluster, EMPTY, fold, type Message, type Reading } from "./fold";
import { messages } from "./read";

export type Line = "connecting" | "live" | "broken";
export interface View {
  cluster: Cluster;
  line: Line;
  /** Newest last. */
  changes: readonly Change[];
}

/** Points that a sparkline shows, one every two seconds. */
export const POINTS = 60;
const KEPT_CHANGES = 500;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 8000;
/** The server says something at least every 15 s; after this long the line is dead. */
const SILENCE = 40_000;

export class ClusterStore {
  private view: View = { cluster: EMPTY, line: "connecting", changes: [] };
  private readonly listeners = new Set<() => void>();
  private readonly readings = new Map<string, readonly Reading[]>();
  private readonly readers = new Map<string, Set<() => void>>();
  private last = "";
  private aborter: AbortController | null = null;

  constructor(private readonly open: (last: string, signal: AbortSignal) => Promise<Response> = request) {}

  get = (): View => this.view;

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** The readings of one worker, oldest first. */
  readingsOf = (workerId: string): readonly Reading[] => this.readings.get(workerId) ?? NONE;

  subscribeReadings(workerId: string, listener: () => void): () => void {
    const set = this.readers.get(workerId) ?? new Set();
    this.readers.set(workerId, set.add(listener));
    return () => set.delete(listener);
  }

  start(): () => void {
    const aborter = (this.aborter = new AbortController());
    void this.run(aborter.signal);
    return () => aborter.abort();
  }

  /** With another key, from the beginning. */
  restart(): void {
    this.aborter?.abort();
    this.last = "";
    this.view = { cluster: EMPTY, line: "connecting", changes: [] };
    this.tell();
    this.start();
  }

  private async run(signal: AbortSignal): Promise<void> {
    let pause = FIRST_PAUSE;
    for (;;) {
      const told = await this.follow(signal);
      if (signal.aborted || told === "refused") return; // refused: a key is needed first
      pause = told === "something" ? FIRST_PAUSE : Math.min(LONGEST_PAUSE, pause * 2);
      this.set({ ...this.view, line: "broken" });
      await new Promise((go) => setTimeout(go, pause));
    }
  }

  private async follow(signal: AbortSignal): Promise<"something" | "nothing" | "refused"> {
    let told: "something" | "nothing" = "nothing";
    const line = new AbortController();
    const stop = () => line.abort();
    signal.addEventListener("abort", stop);
    let silence = setTimeout(stop, SILENCE);
    try {
      const reply = await this.open(this.last, line.signal);
      if (!reply.ok) {
        refused(reply.status);
        if (reply.status === 401 || reply.status === 403) return "refused";
        throw await problemOf(reply);
      }
      for await (const batch of messages(reply)) {
        clearTimeout(silence);
        silence = setTimeout(stop, SILENCE);
        told = "something";
        this.take(batch);
      }
    } catch {
      return told; // the line broke; the next one goes on from the last event
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", stop);
    }
    return told;
  }

  take(batch: readonly Message[]): void {
    let { cluster, changes } = this.view;
    const fresh: Change[] = [];
    for (const message of batch) {
      if (message.id) this.last = message.id;
      if (message.event === "reading") {
        this.heard(message.data as Reading);
        continue;
      }
      if (message.event === "change" && (message.data as Change).number > cluster.number) fresh.push(message.data as Change);
      if (message.event === "snapshot") {
        fresh.length = 0;
        changes = [];
      }
      cluster = fold(cluster, message);
    }
    if (fresh.length) changes = [...changes, ...fresh].slice(-KEPT_CHANGES);
    if (cluster !== this.view.cluster || this.view.line !== "live") this.set({ cluster, changes, line: "live" });
  }

  private heard(reading: Reading): void {
    const before = this.readings.get(reading.worker_id) ?? NONE;
    this.readings.set(reading.worker_id, [...before.slice(1 - POINTS), reading]);
    this.readers.get(reading.worker_id)?.forEach((listener) => listener());
  }

  private set(view: View): void {
    this.view = view;
    this.tell();
  }

  private tell(): void {
    this.listeners.forEach((listener) => listener());
  }
}

const NONE: readonly Reading[] = [];

function request(last: string, signal: AbortSignal): Promise<Response> {
  const more: Record<string, string> = last ? { "Last-Event-ID": last } : {};
  return fetch("/v1/cluster/events", { headers: { ...headers(), ...more }, signal, cache: "no-store" });
}
