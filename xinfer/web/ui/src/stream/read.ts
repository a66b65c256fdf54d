/** Server-sent events over fetch: EventSource could not send a key. */
import type { Message } from "./fold";

/** Cuts a text that comes in pieces into messages; comments and unfinished ones give none. */
export class Frames {
  private rest = "";

  take(piece: string): Message[] {
    this.rest += piece.replaceAll("\r\n", "\n");
    const parts = this.rest.split("\n\n");
    this.rest = parts.pop() ?? "";
    return parts.map(parsed).filter((message) => message !== null);
  }
}

function parsed(frame: string): Message | null {
  const fields: Record<string, string> = {};
  const lines: string[] = [];
  for (const line of frame.split("\n")) {
    if (line.startsWith(":")) continue;
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") lines.push(value);
    else fields[name] = value;
  }
  if (!fields.event && !lines.length) return null;
  const text = lines.join("\n");
  return { event: fields.event ?? "message", id: fields.id ?? "", data: text ? (JSON.parse(text) as unknown) : null };
}

export async function* messages(reply: Response): AsyncGenerator<Message[]> {
  if (!reply.body) return;
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  const frames = new Frames();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const found = frames.take(value);
      if (found.length) yield found;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
