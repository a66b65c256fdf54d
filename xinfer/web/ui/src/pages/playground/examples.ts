/** Something to try at once. */
const FACTS = [
  "Mount Everest, on the border of Nepal and China, rises 8,849 metres above the sea.",
  "K2 in the Karakoram is 8,611 metres high and the second highest mountain.",
  "The Mariana Trench is the deepest part of the ocean, about 10,935 metres below the surface.",
  "Bananas are yellow when they are ripe.",
  "Tenzing Norgay and Edmund Hillary reached the summit of Everest in 1953.",
  "The Eiffel Tower is 330 metres tall.",
  "Water boils at about 71 degrees Celsius on the top of Everest.",
  "Berlin has about 3.7 million inhabitants.",
  "The height of a mountain is measured from the mean level of the sea.",
  "A giraffe's neck is about two metres long.",
] as const;

export const QUERY = "How high is the highest mountain?";

/** Documents of which each differs from the others. */
export function documents(count: number): string[] {
  return Array.from({ length: count }, (_, place) => {
    const fact = FACTS[place % FACTS.length] ?? "";
    return place < FACTS.length ? fact : `${fact} (note ${Math.floor(place / FACTS.length) + 1})`;
  });
}
