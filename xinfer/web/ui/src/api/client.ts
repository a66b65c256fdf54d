/** The one way to the server: the session's key on every request, and every failure a Problem. */
import createClient, { type Middleware } from "openapi-fetch";

import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

const KEY = "xinfer.key";

/** The key of this browser session; it is never written anywhere that outlives the tab. */
export const session = {
  key: () => sessionStorage.getItem(KEY) ?? "",
  enter: (key: string) => { sessionStorage.setItem(KEY, key); },
  leave: () => { sessionStorage.removeItem(KEY); },
};

/** An error in the server's own words. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly param: string | null = null,
    readonly details: Record<string, unknown> = {},
  ) {
    super(message);
  }
}

interface ErrorBody { error?: { message?: string; code?: string; param?: string | null; details?: Record<string, unknown> } }

export async function problemOf(reply: Response): Promise<Problem> {
  const body = (await reply.json().catch(() => ({}))) as ErrorBody;
  const error = body.error ?? {};
  return new Problem(reply.status, error.code ?? "http_error", error.message ?? `HTTP ${reply.status}`, error.param ?? null, error.details ?? {});
}

export function headers(): Record<string, string> {
  const key = session.key();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** Called with 401: a page that needs a key asks for it. */
let unauthorized: () => void = () => undefined;
export function onUnauthorized(act: () => void): void {
  unauthorized = act;
}
export function refused(status: number): void {
  if (status === 401) unauthorized();
}

const guard: Middleware = {
  onRequest({ request }) {
    for (const [name, value] of Object.entries(headers())) request.headers.set(name, value);
    return request;
  },
  async onResponse({ response }) {
    if (response.ok) return response;
    refused(response.status);
    throw await problemOf(response);
  },
};

export const api = createClient<paths>({ baseUrl: location.origin });
api.use(guard);

/** The data of an answer; failures have been thrown before. */
export async function data<T>(answer: Promise<{ data?: T }>): Promise<T> {
  const { data: found } = await answer;
  return found as T;
}
