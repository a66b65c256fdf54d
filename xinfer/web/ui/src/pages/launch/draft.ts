/** What a launch is to be, as the form, the tiles, the table and the code show it. Pure. */
import type { Schemas } from "../../api/client";

export type LaunchRequest = Partial<Schemas["LaunchRequest"]>;

export interface Draft {
  source: "registered" | "path";
  name: string;
  path: string;
  type: "rerank" | "embedding";
  uid: string;
  engine: string;
  dtype: "auto" | "float32" | "float16" | "bfloat16";
  memory: string;
  /** One entry for each replica: its slot, ``ADDR@0``; null = automatic. */
  pins: readonly (string | null)[];
  /** What a launch of before said beyond what the form has a field for; kept until it is taken out. */
  rest: LaunchRequest;
}

const FIELDS = ["model_name", "model_path", "model_type", "model_uid", "model_engine", "dtype", "memory", "replica", "slots"] as const satisfies readonly (keyof LaunchRequest)[];

export const NEW: Draft = { source: "registered", name: "", path: "", type: "rerank", uid: "", engine: "", dtype: "auto", memory: "", pins: [null], rest: {} };

export const MOST = 1000;
const AUTO = "auto";

export function named(draft: Draft): boolean {
  return draft.source === "registered" ? draft.name !== "" : draft.path.trim() !== "";
}

/** More replicas are automatic at first; fewer: automatic ones go first, then the last pinned. */
export function withReplicas(draft: Draft, count: number): Draft {
  const wanted = Math.max(1, Math.min(MOST, Math.floor(count) || 1));
  const pins = [...draft.pins];
  while (pins.length < wanted) pins.push(null);
  while (pins.length > wanted) {
    const free = pins.lastIndexOf(null);
    pins.splice(free < 0 ? pins.length - 1 : free, 1);
  }
  return { ...draft, pins };
}

/** The first automatic replica goes to that slot; if there is none, there is one replica more. */
export function pinNext(draft: Draft, slot: string): Draft {
  const free = draft.pins.indexOf(null);
  return free < 0 ? { ...draft, pins: [...draft.pins, slot] } : pin(draft, free, slot);
}

export function pin(draft: Draft, replica: number, slot: string | null): Draft {
  return { ...draft, pins: draft.pins.map((own, place) => (place === replica ? slot : own)) };
}

export function unpinAll(draft: Draft): Draft {
  return { ...draft, pins: draft.pins.map(() => null) };
}

export function withoutRest(draft: Draft, field: keyof LaunchRequest): Draft {
  return { ...draft, rest: omitted(draft.rest, [field]) };
}

/** The body of POST /v1/plan and POST /v1/models: what the preview showed is what is sent. */
export function requestOf(draft: Draft): LaunchRequest {
  const body: LaunchRequest = { ...draft.rest, ...(draft.source === "registered" ? { model_name: draft.name } : { model_path: draft.path.trim() }) };
  body.model_type = draft.type;
  if (draft.uid.trim()) body.model_uid = draft.uid.trim();
  if (draft.engine) body.model_engine = draft.engine;
  if (draft.dtype !== "auto") body.dtype = draft.dtype;
  if (draft.memory.trim()) body.memory = draft.memory.trim();
  if (draft.pins.some((slot) => slot !== null)) body.slots = draft.pins.map((slot) => slot ?? AUTO);
  else if (draft.pins.length > 1) body.replica = draft.pins.length;
  return body;
}

/** A launch of before, to be changed and sent again. */
export function draftOf(request: LaunchRequest): Draft {
  const slots = request.slots?.map((slot) => (slot === AUTO ? null : slot));
  const type = request.model_type?.toLowerCase().startsWith("embed") ? "embedding" : "rerank";
  return {
    source: request.model_path ? "path" : "registered",
    name: request.model_name ?? "",
    path: request.model_path ?? "",
    type,
    uid: request.model_uid ?? "",
    engine: request.model_engine ?? "",
    dtype: request.dtype ?? "auto",
    memory: request.memory == null ? "" : String(request.memory),
    pins: slots ?? Array.from({ length: Math.max(1, request.replica ?? 1) }, () => null),
    rest: omitted(request, FIELDS),
  };
}

function omitted(request: LaunchRequest, fields: readonly (keyof LaunchRequest)[]): LaunchRequest {
  const kept = Object.entries(request).filter(([name, value]) => !fields.includes(name as keyof LaunchRequest) && value !== null);
  return Object.fromEntries(kept);
}
