import { afterEach, describe, expect, it, vi } from "vitest";

import { EMPTY, fold, type Message } from "./fold";
import { Frames } from "./read";
import { ClusterStore, POINTS } from "./store";

const worker = (id: string, state = "alive") => ({ worker_id: id, address: `${id}:1`, host: "h", state, last_seen: 1, engines: [], devices: [] });
const snapshot = (epoch: number, number: number, ...ids: string[]): Message => ({ event: "snapshot", id: `${epoch}-${number}`, data: { epoch, number, at: 1, workers: ids.map((id) => worker(id)), models: [], replicas: [] } });
const change = (epoch: number, number: number, id: string, gone = false): Message => ({ event: "change", id: `${epoch}-${number}`, data: { number, at: 1, kind: "worker", key: id, level: "info", text: `${id} ${number}`, worker: gone ? null : worker(id), model: null, replica: null } });
const reading = (id: string, at: number): Message => ({ event: "reading", id: "", data: { worker_id: id, at, devices: [], replicas: [] } });

describe("fold", () => {
  it("puts, replaces and takes away what a change names", () => {
    let state = fold(EMPTY, snapshot(3, 7, "a"));
    state = fold(state, change(3, 8, "b"));
    expect([...state.workers.keys()]).toEqual(["a", "b"]);
    state = fold(state, change(3, 9, "a", true));
    expect([...state.workers.keys()]).toEqual(["b"]);
    expect(state.number).toBe(9);
  });

  it("takes no change twice, and a new life's snapshot for all there is", () => {
    const state = fold(fold(EMPTY, snapshot(3, 7, "a")), change(3, 8, "b"));
    expect(fold(state, change(3, 8, "c"))).toBe(state);
    const next = fold(state, snapshot(4, 0, "z"));
    expect([...next.workers.keys()]).toEqual(["z"]);
    expect(next.number).toBe(0);
  });

  it("knows whether the supervisor answers", () => {
    const away = fold(fold(EMPTY, snapshot(1, 0)), { event: "away", id: "", data: null });
    expect(away.present).toBe(false);
    expect(fold(away, { event: "back", id: "", data: null }).present).toBe(true);
  });
});

describe("Frames", () => {
  it("cuts messages out of pieces that end anywhere", () => {
    const text = `: hello\n\nevent: change\nid: 3-8\ndata: {"a":\ndata: 1}\n\nevent: away\ndata: {}\n\n`;
    for (let size = 1; size < text.length; size += 3) {
      const frames = new Frames();
      const found: Message[] = [];
      for (let at = 0; at < text.length; at += size) found.push(...frames.take(text.slice(at, at + size)));
      expect(found).toEqual([{ event: "change", id: "3-8", data: { a: 1 } }, { event: "away", id: "", data: {} }]);
    }
  });
});

function body(...messages: Message[]): Response {
  const text = messages.map((it) => `event: ${it.event}\n${it.id ? `id: ${it.id}\n` : ""}data: ${JSON.stringify(it.data)}\n\n`).join("");
  return new Response(text, { status: 200 });
}

describe("ClusterStore", () => {
  afterEach(() => { vi.useRealTimers(); });

  it("goes on from the last event when the line breaks, and misses nothing", async () => {
    vi.useFakeTimers();
    const asked: string[] = [];
    const replies = [body(snapshot(3, 7, "a"), change(3, 8, "b")), body(change(3, 9, "c"))];
    const store = new ClusterStore((last) => {
      asked.push(last);
      const reply = replies.shift();
      return reply ? Promise.resolve(reply) : new Promise<Response>(() => undefined);
    });
    const stop = store.start();
    await vi.waitFor(() => { expect(asked).toHaveLength(3); }, { timeout: 5000 });
    expect(asked).toEqual(["", "3-8", "3-9"]);
    expect([...store.get().cluster.workers.keys()]).toEqual(["a", "b", "c"]);
    expect(store.get().changes.map((it) => it.number)).toEqual([8, 9]);
    stop();
  });

  it("waits for a key where one is asked for", async () => {
    let asked = 0;
    const store = new ClusterStore(() => {
      asked += 1;
      return Promise.resolve(new Response("{}", { status: 401 }));
    });
    store.start();
    await new Promise((go) => setTimeout(go, 30));
    expect(asked).toBe(1);
  });

  it("lists no change twice, and none of an earlier life", () => {
    const store = new ClusterStore(() => new Promise<Response>(() => undefined));
    store.take([snapshot(1, 7, "a"), change(1, 7, "a"), change(1, 8, "b")]);
    store.take([change(1, 8, "b"), change(1, 9, "c")]);
    expect(store.get().changes.map((it) => it.number)).toEqual([8, 9]);
    store.take([change(1, 10, "d"), snapshot(2, 0, "a"), change(2, 1, "e")]);
    expect(store.get().changes.map((it) => it.number)).toEqual([1]);
  });

  it("tells a reading to those of its worker alone, and keeps two minutes", () => {
    const store = new ClusterStore(() => new Promise<Response>(() => undefined));
    const [a, b, all] = [vi.fn(), vi.fn(), vi.fn()];
    store.subscribeReadings("a", a);
    store.subscribeReadings("b", b);
    store.take([snapshot(1, 0, "a")]);
    store.subscribe(all);
    for (let at = 0; at < POINTS + 5; at += 1) store.take([reading("a", at)]);
    expect(a).toHaveBeenCalledTimes(POINTS + 5);
    expect(b).not.toHaveBeenCalled();
    expect(all).not.toHaveBeenCalled();
    expect(store.readingsOf("a")).toHaveLength(POINTS);
    expect(store.readingsOf("a").at(-1)?.at).toBe(POINTS + 4);
  });
});
