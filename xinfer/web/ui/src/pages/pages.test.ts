import { describe, expect, it } from "vitest";

import { say } from "../i18n";
import { en } from "../i18n/en";
import { bytes, milliseconds, seconds } from "../i18n/format";
import { zh } from "../i18n/zh";
import { byDevice, slotOf } from "../slots/slot";
import { shares } from "../slots/Sparkline";
import type { Change, Reading, Replica, Worker } from "../stream/fold";
import { merged } from "./logs/EventTable";
import { aligned } from "./model/Charts";
import { embeddingCode, rerankCode, similarities } from "./playground/code";
import { documents } from "./playground/examples";
import { summed } from "./playground/Served";

describe("words", () => {
  it("have the same places to fill in both languages", () => {
    const places = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((it) => it[1]).sort();
    for (const key of Object.keys(en) as (keyof typeof en)[]) expect(places(zh[key]), key).toEqual(places(en[key]));
  });

  it("are filled in, and what is missing stays visible", () => {
    expect(say("en", "device.memory", { used: "1 GiB", total: "2 GiB" })).toBe("1 GiB of 2 GiB reserved");
    expect(say("zh", "device.free", {})).toContain("{free}");
  });

  it("give sizes and times for people", () => {
    expect([bytes(0), bytes(999), bytes(2 ** 30), bytes(1.5 * 2 ** 30), bytes(2000 * 2 ** 20)]).toEqual(["0 B", "999 B", "1 GiB", "1.5 GiB", "2 GiB"]);
    expect([seconds(-1), seconds(61), seconds(3700)]).toEqual(["0 s", "1 min 1 s", "1 h 1 min"]);
    expect([milliseconds(null), milliseconds(0.0042), milliseconds(0.2)]).toEqual(["–", "4.2 ms", "200 ms"]);
  });
});

const replica = (id: string, more: object) => ({ replica_model_uid: id, device_uuids: [], seen_uuids: [], ...more }) as unknown as Replica;

describe("slots", () => {
  it("show a replica where it reports to be, else where it is bound to", () => {
    const there = byDevice([replica("a-0", { device_uuids: ["x"], seen_uuids: ["y"] }), replica("a-1", { device_uuids: ["x", "z"] })]);
    expect([...there].map(([uuid, found]) => [uuid, found.map((it) => it.replica_model_uid)])).toEqual([["y", ["a-0"]], ["x", ["a-1"]], ["z", ["a-1"]]]);
  });

  it("are written as pins are", () => {
    const worker = { address: "h:1", devices: [{ uuid: "x", index: 0 }, { uuid: "z", index: 3 }] } as unknown as Worker;
    expect(slotOf(worker, replica("a", { device_uuids: ["x", "z"] }))).toBe("h:1@0,3");
    expect(slotOf(undefined, replica("a", { device_uuids: ["x"] }))).toBe("");
  });

  it("are as busy as they say, else as their replicas are together", () => {
    const readings = [
      { devices: [{ uuid: "x", utilization: 0.5 }], replicas: [{ replica_model_uid: "a-0", busy: 0.9 }] },
      { devices: [], replicas: [{ replica_model_uid: "a-0", busy: 0.7 }, { replica_model_uid: "a-1", busy: 0.6 }, { replica_model_uid: "b-0", busy: 1 }] },
      { devices: [], replicas: [] },
    ] as unknown as Reading[];
    expect(shares(readings, "x", ["a-0", "a-1"])).toEqual([0.5, 1, null]);
  });
});

describe("events", () => {
  const kept = [{ id: "1-4", at: 1, level: "info", text: "old", key: "a-0", model: "a", worker: "w" }];
  const fresh = (number: number, text: string, key = "a-0") => ({ number, at: 2, kind: "replica", key, level: "error", text, replica: null }) as unknown as Change;

  it("come once, newest first, silent ones not at all", () => {
    const found = merged(1, kept, [fresh(4, "old"), fresh(5, ""), fresh(6, "new")], {});
    expect(found.map((it) => it.id)).toEqual(["1-6", "1-4"]);
  });

  it("are filtered; of a replica that is gone its name says the model", () => {
    const all = [fresh(6, "new"), fresh(7, "other", "b-c-0")];
    expect(merged(1, kept, all, { model: "b-c" }).map((it) => it.id)).toEqual(["1-7"]);
    expect(merged(1, kept, all, { level: "info" }).map((it) => it.id)).toEqual(["1-4"]);
    expect(merged(1, kept, all, { worker: "w" }).map((it) => it.id)).toEqual(["1-4"]);
  });
});

describe("playground", () => {
  it("gives as many documents as are asked for, none twice", () => {
    expect(new Set(documents(50)).size).toBe(50);
  });

  it("adds up what each replica did", () => {
    const shard = (replica_id: string, items: number) => ({ replica_id, slot: "h:1@0", items, compute_seconds: 0.5 });
    expect(summed([shard("m-10", 1), shard("m-2", 4), shard("m-10", 2)])).toEqual([{ ...shard("m-2", 4) }, { ...shard("m-10", 3), compute_seconds: 1 }]);
  });

  it("measures the angle between vectors", () => {
    const found = similarities([[1, 0], [0, 2], [1, 1], [0, 0]]);
    expect(found[0]?.[0]).toBeCloseTo(1);
    expect(found[0]?.[1]).toBeCloseTo(0);
    expect(found[1]?.[2]).toBeCloseTo(Math.SQRT1_2);
    expect(found[3]?.[0]).toBe(0);
  });

  it("writes code that can be pasted", () => {
    expect(rerankCode("http://h", "ce", "what's up", ["a"]).curl).toContain(`"query":"what'\\''s up"`);
    expect(embeddingCode("http://h", "e", ["a"]).Python).toContain('base_url="http://h/v1"');
  });
});

describe("charts", () => {
  it("put series of different moments on one axis", () => {
    const series = [{ key: "a", at: [10.1, 12.2], values: { p95: [0.1, null] } }, { key: "b", at: [12.1, 14], values: { p95: [0.3, 0.4] } }];
    expect(aligned(series, "p95", 1000)).toEqual({ at: [10, 12, 14], columns: [[100, null, null], [null, 300, 400]] });
  });
});
