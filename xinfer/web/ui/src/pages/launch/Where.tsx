import { DndContext, KeyboardSensor, PointerSensor, useDraggable, useDroppable, useSensor, useSensors } from "@dnd-kit/core";
import { useCallback, useMemo } from "react";

import { useText } from "../../i18n";
import { DeviceTile, type TileProps } from "../../slots/DeviceTile";
import type { SlotRef } from "../../slots/slot";
import { SlotMap } from "../../slots/SlotMap";
import { pin, pinNext } from "./draft";
import { ghostsOf, placeOf, type Plan, verdictsOf } from "./ghosts";
import type { Editing } from "./WhatForm";

/** The slot map to pin on: by click, by Enter on a tile, or by dragging a replica's chip. */
export function Where({ draft, change, plan }: Editing & { plan: Plan | undefined }) {
  const text = useText();
  const ghosts = useMemo(() => ghostsOf(plan, draft.pins), [plan, draft.pins]);
  const verdicts = useMemo(() => verdictsOf(plan), [plan]);
  const pick = useCallback((slot: SlotRef) => change((now) => pinNext(now, slot.slot)), [change]);
  const next = draft.pins.indexOf(null);
  const label = useCallback((slot: string) => text("launch.pin", { n: next < 0 ? draft.pins.length : next, slot }), [text, next, draft.pins.length]);
  const sensors = useSensors(useSensor(PointerSensor, { activationConstraint: { distance: 4 } }), useSensor(KeyboardSensor));
  return (
    <section aria-label={text("launch.where")}>
      <DndContext sensors={sensors} onDragEnd={({ active, over }) => { if (over) change((now) => pin(now, Number(active.id), String(over.id))); }}>
        <div className="panel" style={{ marginBottom: 12 }}>
          <h2>{text("launch.where")}</h2>
          <p className="quiet small" style={{ marginTop: 0 }}>{text("launch.hint")}</p>
          <div className="chips">{draft.pins.slice(0, 64).map((slot, ordinal) => <Handle key={ordinal} ordinal={ordinal} place={placeOf(ordinal, slot, plan)} own={slot !== null} unpin={() => change((now) => pin(now, ordinal, null))} />)}</div>
        </div>
        <SlotMap ghosts={ghosts} verdicts={verdicts} onPick={pick} pickLabel={label} Tile={DropTile} />
      </DndContext>
    </section>
  );
}

interface HandleProps { ordinal: number; place: ReturnType<typeof placeOf>; own: boolean; unpin: () => void }

function Handle({ ordinal, place, own, unpin }: HandleProps) {
  const text = useText();
  const { attributes, listeners, setNodeRef, transform } = useDraggable({ id: ordinal });
  const moved = transform ? { transform: `translate(${transform.x}px, ${transform.y}px)`, zIndex: 5, position: "relative" as const } : {};
  return (
    <span style={{ display: "inline-flex", gap: 2 }}>
      <span ref={setNodeRef} className="chip ghost" data-handle={ordinal} style={{ cursor: "grab", touchAction: "none", color: "light-dark(#0f7261, #78c0b1)", ...moved }} {...attributes} {...listeners} title={text("launch.drag", { n: ordinal })}>
        {ordinal} · {(place.pinned && place.slot) || text("launch.auto")}
      </span>
      {own && <button type="button" className="chip" aria-label={text("launch.unpin", { n: ordinal })} onClick={unpin}>×</button>}
    </span>
  );
}

function DropTile(props: TileProps) {
  const { setNodeRef, isOver } = useDroppable({ id: props.device.slot });
  return <DeviceTile {...props} over={isOver} hold={setNodeRef} />;
}
