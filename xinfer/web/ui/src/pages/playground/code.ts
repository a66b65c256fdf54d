/** A request as it would be typed. */
import { literal, quoted } from "../launch/code";

export function rerankCode(origin: string, model: string, query: string, documents: readonly string[]): Record<string, string> {
  const body = { model, query, documents };
  return {
    curl: `curl ${quoted(`${origin}/v1/rerank`)} -H 'content-type: application/json' \\\n  -d ${quoted(JSON.stringify(body))}`,
    Python: `import xinfer\n\nwith xinfer.Client(${literal(origin)}) as client:\n    for hit in client.rerank(${literal(model)}, ${literal(query)}, ${literal(documents)}).results:\n        print(hit.index, hit.relevance_score)\n`,
    CLI: `xinfer rerank -e ${quoted(origin)} -u ${quoted(model)} -q ${quoted(query)} ${documents.map(quoted).join(" ")}`,
  };
}

export function embeddingCode(origin: string, model: string, input: readonly string[]): Record<string, string> {
  return {
    curl: `curl ${quoted(`${origin}/v1/embeddings`)} -H 'content-type: application/json' \\\n  -d ${quoted(JSON.stringify({ model, input }))}`,
    Python: `import openai\n\nclient = openai.OpenAI(base_url=${literal(`${origin}/v1`)}, api_key="any")\nreply = client.embeddings.create(model=${literal(model)}, input=${literal(input)})\nprint(len(reply.data[0].embedding))\n`,
  };
}

/** Cosine of each pair of vectors. */
export function similarities(vectors: readonly (readonly number[])[]): number[][] {
  const lengths = vectors.map((vector) => Math.sqrt(dot(vector, vector)) || 1);
  return vectors.map((one, i) => vectors.map((other, j) => dot(one, other) / ((lengths[i] ?? 1) * (lengths[j] ?? 1))));
}

function dot(one: readonly number[], other: readonly number[]): number {
  return one.reduce((sum, value, place) => sum + value * (other[place] ?? 0), 0);
}
