/** The list of what happened in a test, of which only the rows in sight are in the page. */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks"
import { clock, duration, type Kind, type Row, type Test, textOf } from "./model.ts"

const height = 24
/** Rows beyond those in sight. */
const spare = 12

/** Which rows are shown. */
export interface Filter {
  readonly text: string
  readonly hidden: ReadonlySet<Kind>
}

const kinds: ReadonlyArray<readonly [Kind, string]> = [
  ["step", "Steps"],
  ["console", "Console"],
  ["machine", "Machines"],
  ["process", "Supervision"],
  ["log", "Log"],
  ["picture", "Pictures"]
]

const texts = new WeakMap<Row, string>()
const searchable = (row: Row): string => {
  const known = texts.get(row)
  if (known !== undefined) return known
  const text = textOf(row)
  texts.set(row, text)
  return text
}

/** The rows that a filter leaves. */
export const filtered = (rows: ReadonlyArray<Row>, { hidden, text }: Filter): ReadonlyArray<Row> => {
  const wanted = text.trim().toLowerCase()
  return rows.filter((row) => !hidden.has(row.kind) && (wanted === "" || searchable(row).includes(wanted)))
}

const marks: Readonly<Record<Row["status"], string>> = { ok: "✔", failed: "✘", warning: "!", running: "…", plain: "" }

const RowLine = ({
  row,
  test,
  top,
  selected,
  choose
}: {
  readonly row: Row
  readonly test: Test
  readonly top: number
  readonly selected: boolean
  readonly choose: (row: Row) => void
}) => (
  <div
    id={`row-${row.index}`}
    role="option"
    tabIndex={-1}
    aria-selected={selected}
    class={`row ${row.kind} ${test.failing === row ? "failing" : ""}`}
    style={{ transform: `translateY(${top}px)` }}
    onClick={() => choose(row)}
    onKeyDown={() => undefined}
  >
    <span class="when">{clock(row.at - test.at)}</span>
    <span style={{ width: `${row.depth * 14}px`, flex: "none" }} />
    {row.status === "plain" ? null : <span class={row.status}>{marks[row.status]}</span>}
    {row.machine === undefined ? null : <span class="tag">{row.machine}</span>}
    <span class="title">{row.title}</span>
    {row.note === "" ? null : <span class={`note ${row.status}`}>{row.note}</span>}
    {row.end === undefined ? null : <span class="took">{duration(row.end - row.at)}</span>}
  </div>
)

export const EventList = ({
  test,
  rows,
  filter,
  setFilter,
  selected,
  choose
}: {
  readonly test: Test
  readonly rows: ReadonlyArray<Row>
  readonly filter: Filter
  readonly setFilter: (filter: Filter) => void
  readonly selected: Row | undefined
  readonly choose: (row: Row) => void
}) => {
  const list = useRef<HTMLDivElement>(null)
  const [view, setView] = useState({ top: 0, height: 600 })
  const place = useMemo(() => (selected === undefined ? -1 : rows.indexOf(selected)), [rows, selected])

  useEffect(() => {
    const element = list.current
    if (element === null) return
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight })
    const observer = new ResizeObserver(measure)
    observer.observe(element)
    return () => observer.disconnect()
  }, [])

  useLayoutEffect(() => {
    const element = list.current
    if (element === null || place === -1) return
    const top = place * height
    if (top < element.scrollTop + height || top + 2 * height > element.scrollTop + element.clientHeight) {
      element.scrollTop = Math.max(0, top - element.clientHeight / 2)
    }
  }, [place, test])

  const first = Math.max(0, Math.floor(view.top / height) - spare)
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / height) + spare)
  const toggle = (kind: Kind) => {
    const hidden = new Set(filter.hidden)
    if (!hidden.delete(kind)) hidden.add(kind)
    setFilter({ ...filter, hidden })
  }
  return (
    <section class="events" aria-label="What happened">
      <div class="bar">
        <input
          id="search"
          type="search"
          placeholder="Search ( / )"
          aria-label="Search"
          value={filter.text}
          onInput={({ currentTarget }) => setFilter({ ...filter, text: currentTarget.value })}
        />
        {kinds.map(([kind, name]) => (
          <button key={kind} type="button" aria-pressed={!filter.hidden.has(kind)} onClick={() => toggle(kind)}>
            {name}
          </button>
        ))}
        <span class="dim" data-testid="count">{`${rows.length} of ${test.rows.length}`}</span>
        {test.dropped === 0 ? null : <span class="warning">{`${test.dropped} more were left out`}</span>}
      </div>
      <div
        ref={list}
        id="list"
        class="list"
        role="listbox"
        tabIndex={0}
        aria-label="Events"
        aria-activedescendant={selected === undefined ? undefined : `row-${selected.index}`}
        onScroll={({ currentTarget }) => setView({ top: currentTarget.scrollTop, height: currentTarget.clientHeight })}
      >
        <div style={{ height: `${rows.length * height}px` }}>
          {rows.slice(first, last).map((row, index) => (
            <RowLine
              key={row.index}
              row={row}
              test={test}
              top={(first + index) * height}
              selected={row === selected}
              choose={choose}
            />
          ))}
        </div>
      </div>
    </section>
  )
}
