/** The timeline of a test: a lane for each machine and network, on one clock. Drag over a part to zoom in, double-click to zoom out. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks"
import { axis, gutter, heightOfAll, type Lane, lanesOf, type Shape } from "./lanes.ts"
import { clock, duration, type Row, type Test } from "./model.ts"

interface View {
  readonly from: number
  readonly to: number
}

const colours = (element: Element) => {
  const style = getComputedStyle(element)
  const known = new Map<string, string>()
  return (name: string): string => {
    const value = known.get(name) ?? style.getPropertyValue(name)
    known.set(name, value)
    return value
  }
}

/** The distance of the marks of the axis: a round number of milliseconds. */
const stepOf = (span: number, marks: number): number => {
  const least = span / marks
  const power = 10 ** Math.floor(Math.log10(least))
  return power * ([1, 2, 5, 10].find((factor) => power * factor >= least) ?? 10)
}

interface Drawing {
  readonly context: CanvasRenderingContext2D
  readonly width: number
  readonly view: View
  readonly colour: (name: string) => string
  readonly x: (at: number) => number
}

const drawAxis = ({ colour, context, view, width, x }: Drawing, test: Test, height: number) => {
  context.font = "11px system-ui, sans-serif"
  context.textBaseline = "middle"
  const step = stepOf(view.to - view.from, Math.max(2, (width - gutter) / 110))
  const first = Math.ceil((view.from - test.at) / step) * step
  for (let time = first; test.at + time <= view.to; time += step) {
    const left = x(test.at + time)
    context.fillStyle = colour("--line")
    context.fillRect(left, 0, 1, height)
    context.fillStyle = colour("--dim")
    context.fillText(clock(time), left + 4, axis / 2)
  }
}

const drawTraffic = ({ colour, context, x }: Drawing, { height, top, traffic }: Lane) => {
  const rate = (one: Lane["traffic"][number]) => one.bytes / one.millis
  const most = traffic.reduce((max, one) => Math.max(max, rate(one)), 0)
  context.fillStyle = colour("--traffic")
  for (const one of traffic) {
    const size = Math.max(2, ((height - 6) * rate(one)) / most)
    context.fillRect(
      x(one.at - one.millis),
      top + height - 2 - size,
      Math.max(1, x(one.at) - x(one.at - one.millis)),
      size
    )
  }
}

const drawLane = (drawing: Drawing, lane: Lane, selected: Row | undefined) => {
  const { colour, context, view, width, x } = drawing
  for (const { at, end, state } of lane.states) {
    if (state === "stopped" || end < view.from || at > view.to) continue
    context.fillStyle = colour(`--${state}`)
    context.globalAlpha = 0.55
    context.fillRect(x(at), lane.top + 1, Math.max(1, x(end) - x(at)), lane.height - 2)
    context.globalAlpha = 1
  }
  drawTraffic(drawing, lane)
  // What ends in the same pixel as what was drawn before it would not be seen.
  const drawn = new Set<string>()
  for (const { at, colour: name, end, height, row, y } of lane.shapes) {
    if (end < view.from || at > view.to) continue
    const left = x(Math.max(at, view.from))
    const wide = Math.max(2, x(Math.min(end, view.to)) - left)
    const key = `${Math.round(left)} ${y} ${Math.round(wide)} ${name}`
    if (row !== selected && drawn.has(key)) continue
    drawn.add(key)
    context.fillStyle = colour(name)
    context.fillRect(left, lane.top + y, wide, height)
    if (row === selected) {
      context.strokeStyle = colour("--text")
      context.lineWidth = 2
      context.strokeRect(left - 1, lane.top + y - 1, wide + 2, height + 2)
    } else if (wide > 60 && height > 9) {
      context.save()
      context.beginPath()
      context.rect(left, lane.top + y, wide - 3, height)
      context.clip()
      context.fillStyle = "#fff"
      context.fillText(row.title, left + 4, lane.top + y + height / 2 + 0.5)
      context.restore()
    }
  }
  context.fillStyle = colour("--bg")
  context.fillRect(0, lane.top, gutter, lane.height)
  context.fillStyle = colour("--text")
  context.fillText(lane.name, 10, lane.top + lane.height / 2, gutter - 16)
  context.fillStyle = colour("--line")
  context.fillRect(0, lane.top + lane.height - 1, width, 1)
}

/** What is nearest to a place of a lane, within a few pixels. */
const nearest = (lane: Lane, at: number, y: number, slack: number): Shape | undefined => {
  let best: Shape | undefined
  let bestDistance = Number.POSITIVE_INFINITY
  for (const shape of lane.shapes) {
    const aside = at < shape.at ? shape.at - at : at > shape.end ? at - shape.end : 0
    if (aside > slack) continue
    const below = y < shape.y ? shape.y - y : y > shape.y + shape.height ? y - shape.y - shape.height : 0
    // Short ones lie over long ones.
    const distance = aside / slack + below + Math.min(1, (shape.end - shape.at) / (slack * 1000))
    if (distance < bestDistance) {
      best = shape
      bestDistance = distance
    }
  }
  return best
}

export const Timeline = ({
  test,
  selected,
  choose,
  theme
}: {
  readonly test: Test
  readonly selected: Row | undefined
  readonly choose: (row: Row) => void
  readonly theme: string
}) => {
  const canvas = useRef<HTMLCanvasElement>(null)
  const whole: View = { from: test.at, to: Math.max(test.end, test.at + 1) }
  const [view, setView] = useState<View>(whole)
  const [width, setWidth] = useState(900)
  const [tip, setTip] = useState<{ readonly x: number; readonly y: number; readonly text: string }>()
  const [drag, setDrag] = useState<{ readonly from: number; readonly to: number }>()
  const lanes = useMemo(() => lanesOf(test), [test])
  const height = heightOfAll(lanes)

  useEffect(() => setView(whole), [test])
  useEffect(() => {
    const element = canvas.current?.parentElement
    if (element == null) return
    const observer = new ResizeObserver(() => setWidth(element.clientWidth))
    observer.observe(element)
    return () => observer.disconnect()
  }, [])

  const scale = (width - gutter - 8) / (view.to - view.from)
  const x = (at: number) => gutter + (at - view.from) * scale
  const timeAt = (left: number) => view.from + (left - gutter) / scale

  useEffect(() => {
    const element = canvas.current
    const context = element?.getContext("2d")
    if (element === null || context == null) return
    const ratio = devicePixelRatio
    element.width = Math.round(width * ratio)
    element.height = Math.round(height * ratio)
    element.style.height = `${height}px`
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    const drawing: Drawing = { context, width, view, colour: colours(element), x }
    context.clearRect(0, 0, width, height)
    drawAxis(drawing, test, height)
    for (const lane of lanes) drawLane(drawing, lane, selected)
    if (selected !== undefined) {
      context.fillStyle = drawing.colour("--accent")
      context.fillRect(Math.max(gutter, x(selected.at)), 0, 1, height)
    }
    if (drag !== undefined) {
      context.globalAlpha = 0.2
      context.fillStyle = drawing.colour("--accent")
      context.fillRect(Math.min(drag.from, drag.to), 0, Math.abs(drag.to - drag.from), height)
      context.globalAlpha = 1
    }
  }, [lanes, width, height, view, selected, drag, theme])

  const placeOf = (event: MouseEvent) => {
    const box = canvas.current?.getBoundingClientRect()
    const left = event.clientX - (box?.left ?? 0)
    const top = event.clientY - (box?.top ?? 0)
    const lane = lanes.find((one) => top >= one.top && top < one.top + one.height)
    const found = lane === undefined ? undefined : nearest(lane, timeAt(left), top - lane.top, 6 / scale)
    return { left, top, lane, found }
  }
  const move = (event: MouseEvent) => {
    const { found, lane, left, top } = placeOf(event)
    if (drag !== undefined) return setDrag({ ...drag, to: Math.max(gutter, left) })
    const at = timeAt(left)
    const traffic = lane?.traffic.find((one) => one.at >= at && one.at - one.millis <= at)
    const text =
      found !== undefined
        ? `${clock(found.row.at - test.at)} ${found.row.title}${found.end > found.at ? ` (${duration(found.end - found.at)})` : ""}`
        : traffic === undefined
          ? ""
          : `${traffic.packets} packets, ${traffic.bytes} bytes in ${traffic.millis} ms`
    setTip(text === "" ? undefined : { x: Math.min(left + 12, width - 240), y: top + 14, text })
  }
  const release = (event: MouseEvent) => {
    const { found, left } = placeOf(event)
    const from = drag?.from ?? left
    setDrag(undefined)
    if (Math.abs(left - from) > 5) {
      const [start, end] = [timeAt(Math.min(from, left)), timeAt(Math.max(from, left))]
      setView({ from: Math.max(whole.from, start), to: Math.min(whole.to, Math.max(end, start + 2)) })
    } else if (found !== undefined) choose(found.row)
  }
  const zoom = (event: WheelEvent) => {
    if (!event.ctrlKey && !event.shiftKey) return
    event.preventDefault()
    const at = timeAt(placeOf(event).left)
    const factor = event.deltaY > 0 ? 1.25 : 0.8
    const from = Math.max(whole.from, at - (at - view.from) * factor)
    const to = Math.min(whole.to, at + (view.to - at) * factor)
    if (to - from > 2) setView({ from, to })
  }
  return (
    <div class="timeline">
      <canvas
        ref={canvas}
        role="img"
        aria-label="Timeline"
        title="Drag over a part to zoom in; double-click to zoom out"
        onMouseMove={move}
        onMouseLeave={() => setTip(undefined)}
        onMouseDown={(event) => setDrag({ from: Math.max(gutter, placeOf(event).left), to: placeOf(event).left })}
        onMouseUp={release}
        onDblClick={() => setView(whole)}
        onWheel={zoom}
      />
      {tip === undefined ? null : (
        <div class="tip" style={{ left: `${tip.x}px`, top: `${tip.y}px` }}>
          {tip.text}
        </div>
      )}
    </div>
  )
}
