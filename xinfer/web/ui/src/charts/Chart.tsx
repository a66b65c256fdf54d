import "uplot/dist/uPlot.min.css";

import { useComputedColorScheme } from "@mantine/core";
import { useEffect, useRef } from "react";
import UPlot from "uplot";

export interface Line {
  label: string;
  values: readonly (number | null)[];
  colour: string;
}

/** Lines over unix seconds; drawn on a canvas, told in words by its label. */
export function Chart({ title, at, lines, least, height = 130 }: { title: string; at: readonly number[]; lines: readonly Line[]; least: number; height?: number }) {
  const box = useRef<HTMLDivElement>(null);
  const dark = useComputedColorScheme("light") === "dark";
  useEffect(() => {
    const node = box.current;
    if (!node || !at.length) return;
    const [ink, grid] = dark ? ["#9aa7aa", "#2d3639"] : ["#566063", "#e3e9e9"];
    const axis = { stroke: ink, grid: { stroke: grid }, ticks: { stroke: grid } };
    const plot = new UPlot(
      {
        width: node.clientWidth,
        height,
        legend: { show: lines.length > 1 },
        cursor: { y: false },
        scales: { y: { range: (_, low, high) => [Math.min(0, low), Math.max(high * 1.1, least)] } },
        axes: [axis, { ...axis, size: 52 }],
        series: [{}, ...lines.map((line) => ({ label: line.label, stroke: line.colour, width: 1.4, spanGaps: false, points: { size: 3 } }))],
      },
      [[...at], ...lines.map((line) => [...line.values])],
      node,
    );
    const watch = new ResizeObserver(() => plot.setSize({ width: node.clientWidth, height }));
    watch.observe(node);
    return () => {
      watch.disconnect();
      plot.destroy();
    };
  }, [at, lines, least, height, dark]);
  const last = lines.map((line) => `${line.label} ${line.values.at(-1) ?? "–"}`).join(", ");
  return (
    <figure style={{ margin: 0, minWidth: 0 }}>
      <figcaption className="small quiet">{title}</figcaption>
      <div ref={box} role="img" aria-label={`${title}: ${last}`} style={{ minHeight: height }} />
    </figure>
  );
}
