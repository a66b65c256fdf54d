import { describe, expect, it } from "vitest";

import { asCli, asCurl, asPython, literal, quoted } from "./code";
import { draftOf, named, NEW, pin, pinNext, requestOf, unpinAll, withoutRest, withReplicas } from "./draft";
import { devicesOf, ghostsOf, placeOf, type Plan, verdictsOf } from "./ghosts";

const DRAFT = { ...NEW, name: "bge-reranker-base" };

describe("draft", () => {
  it("pins the next automatic replica, and makes one more where there is none", () => {
    const once = pinNext(withReplicas(DRAFT, 2), "a:1@0");
    expect(once.pins).toEqual(["a:1@0", null]);
    expect(pinNext(pinNext(once, "a:1@1"), "a:1@2").pins).toEqual(["a:1@0", "a:1@1", "a:1@2"]);
    expect(pin(once, 0, null).pins).toEqual([null, null]);
    expect(unpinAll(once).pins).toEqual([null, null]);
  });

  it("lets automatic replicas go before pinned ones", () => {
    const three = { ...DRAFT, pins: ["a:1@0", null, "a:1@1"] };
    expect(withReplicas(three, 2).pins).toEqual(["a:1@0", "a:1@1"]);
    expect(withReplicas(three, 1).pins).toEqual(["a:1@0"]);
    expect(withReplicas(three, 0).pins).toHaveLength(1);
    expect(withReplicas(three, Number.NaN).pins).toHaveLength(1);
  });

  it("sends pins as slots, one for each replica, and a number where all are automatic", () => {
    expect(requestOf(withReplicas(DRAFT, 3))).toEqual({ model_name: "bge-reranker-base", model_type: "rerank", replica: 3 });
    const mixed = requestOf({ ...DRAFT, pins: ["a:1@0", null], uid: " ce ", memory: "2GiB", engine: "onnxruntime", dtype: "float16" });
    expect(mixed).toEqual({ model_name: "bge-reranker-base", model_type: "rerank", model_uid: "ce", model_engine: "onnxruntime", dtype: "float16", memory: "2GiB", slots: ["a:1@0", "auto"] });
  });

  it("comes back from a request as it was", () => {
    for (const draft of [withReplicas(DRAFT, 3), { ...DRAFT, pins: ["a:1@0", null], uid: "ce" }, { ...NEW, source: "path" as const, path: "/m", type: "embedding" as const }])
      expect(draftOf(requestOf(draft))).toEqual(draft);
  });

  it("keeps what the form has no field for, until it is taken out", () => {
    const request = { model_name: "m", model_type: "rerank", gpu_idx: [0, 2], worker_ip: "h", replica: 2, min_replica: null } as const;
    const again = draftOf(request as never);
    expect(again.rest).toEqual({ gpu_idx: [0, 2], worker_ip: "h" });
    expect(requestOf(again)).toEqual({ model_name: "m", model_type: "rerank", gpu_idx: [0, 2], worker_ip: "h", replica: 2 });
    expect(requestOf(withoutRest(again, "gpu_idx"))).toEqual({ model_name: "m", model_type: "rerank", worker_ip: "h", replica: 2 });
  });

  it("is nothing to plan without a model", () => {
    expect(named(NEW)).toBe(false);
    expect(named({ ...NEW, source: "path", path: "  " })).toBe(false);
    expect(named(DRAFT)).toBe(true);
  });
});

describe("a command line", () => {
  it("has a flag for each field, and a file for those without one", () => {
    const request = { model_name: "m", gpu_idx: [0, 2], worker_ip: "h", n_gpu: 1, min_replica: 0, packages: ["a>=1", "b"], trust_remote_code: true, options: { pooling: "mean", fast: true } } as never;
    expect(asCli(request, "http://h:1")).toBe(`xinfer launch -e http://h:1 -n m --min-replica 0 --n-gpu 1 --gpu-idx 0,2 --worker-ip h --trust-remote-code --packages 'a>=1' --packages b --option pooling=mean --option fast=true`);
    expect(asCli({ model_name: "m", n_worker: 1 }, "http://h:1")).toBe(`echo '{"n_worker":1}' > launch.yaml\nxinfer launch -e http://h:1 -n m --file launch.yaml`);
  });
});

describe("code", () => {
  const request = requestOf({ ...NEW, source: "path", path: "/models/it's here", uid: "ce", pins: ["10.0.0.2:24002@3", null] });

  it("quotes for a shell", () => {
    expect(quoted("10.0.0.2:24002@3")).toBe("10.0.0.2:24002@3");
    expect(quoted("it's")).toBe(`'it'\\''s'`);
    expect(quoted("")).toBe("''");
  });

  it("is the same launch in each form", () => {
    expect(asCli(request, "http://h:1")).toBe(`xinfer launch -e http://h:1 -mp '/models/it'\\''s here' -t rerank -u ce --pin 10.0.0.2:24002@3 --pin auto`);
    expect(asCurl(request, "http://h:1")).toContain(`-d '{"model_path":"/models/it'\\''s here"`);
    expect(asPython(request, "http://h:1")).toContain(`        slots=["10.0.0.2:24002@3", "auto"],`);
    expect(asPython({ options: { a: true } }, "http://h:1")).toContain(`options={"a": True},`);
    expect(literal([true, null, "a\n"])).toBe('[True, None, "a\\n"]');
  });
});

const PLAN = {
  fits: true, memory_per_device_bytes: 2 ** 30, reason: "", hint: "",
  replicas: [
    { ordinal: 0, slot: "[::1]:1@0,1", reserved_bytes: 2 ** 30, free_after_bytes: 2 ** 31, why: "pinned" },
    { ordinal: 1, slot: "b:2@0", reserved_bytes: 2 ** 30, free_after_bytes: 0, why: "most room" },
  ],
  refused: [{ slot: "c:3@0", reason: "full", hint: "stop something" }],
} as unknown as Plan;

describe("ghosts", () => {
  it("stand on every device of their slot", () => {
    expect(devicesOf("[::1]:1@0,1")).toEqual(["[::1]:1@0", "[::1]:1@1"]);
    const ghosts = ghostsOf(PLAN, ["[::1]:1@0,1", null]);
    expect([...ghosts.keys()]).toEqual(["[::1]:1@0", "[::1]:1@1", "b:2@0"]);
    expect(ghosts.get("b:2@0")).toEqual([{ ordinal: 1, bytes: 2 ** 30, pinned: false }]);
  });

  it("of a plan that does not fit show the pins alone", () => {
    expect([...ghostsOf({ ...PLAN, fits: false }, ["z:9@0", null]).keys()]).toEqual(["z:9@0"]);
    expect(ghostsOf(undefined, [null]).size).toBe(0);
  });

  it("are pinned too where another field of the launch names the slot", () => {
    const named = { ...PLAN, replicas: PLAN.replicas.map((it, n) => ({ ...it, pinned: n === 1 })) };
    expect(ghostsOf(named, [null, null]).get("b:2@0")?.[0]?.pinned).toBe(true);
    expect(ghostsOf(named, [null, null]).get("[::1]:1@0")?.[0]?.pinned).toBe(false);
    expect(placeOf(1, null, named)).toEqual({ slot: "b:2@0", pinned: true });
    expect(placeOf(1, "z:9@0", named)).toEqual({ slot: "z:9@0", pinned: true });
    expect(placeOf(1, null, { ...named, fits: false })).toEqual({ slot: undefined, pinned: false });
  });

  it("say why each slot was chosen or refused", () => {
    const verdicts = verdictsOf(PLAN);
    expect(verdicts.get("c:3@0")).toEqual({ fits: false, reason: "full; stop something" });
    expect(verdicts.get("b:2@0")?.fits).toBe(true);
    expect(verdictsOf({ ...PLAN, fits: false }).has("b:2@0")).toBe(false);
  });
});
