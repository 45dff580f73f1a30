/** The viewer of a run's report. The records of the run are in the page, as JSON lines. */
import { render } from "preact"
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks"
import { Details } from "./Details.tsx"
import { EventList, type Filter, filtered } from "./EventList.tsx"
import { duration, isBad, type Row, type Run, recordsOf, runOf, type Test } from "./model.ts"
import { classOf, listed, markOf, Sidebar } from "./Sidebar.tsx"
import style from "./style.css"
import { Timeline } from "./Timeline.tsx"

const keys: ReadonlyArray<readonly [string, string]> = [
  ["↑ ↓ or j k", "the event before, and the next"],
  ["Page ↑ ↓, Home, End", "further"],
  ["n, p", "the next thing that went wrong, and the one before"],
  ["[ ]", "the test before, and the next"],
  ["/", "search"],
  ["Esc", "leave the search; all events again"],
  ["t", "dark or light"]
]

const Help = ({ close }: { readonly close: () => void }) => {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => dialog.current?.showModal(), [])
  return (
    <dialog ref={dialog} onClose={close}>
      <table class="facts">
        <tbody>
          {keys.map(([key, what]) => (
            <tr key={key}>
              <td>
                <kbd>{key}</kbd>
              </td>
              <td>{what}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <button type="button" onClick={() => dialog.current?.close()}>
        Close
      </button>
    </dialog>
  )
}

const preferred = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")

const useTheme = () => {
  const [theme, setTheme] = useState(preferred)
  useEffect(() => {
    const query = matchMedia("(prefers-color-scheme: dark)")
    const change = () => setTheme(preferred())
    query.addEventListener("change", change)
    return () => query.removeEventListener("change", change)
  }, [])
  document.documentElement.dataset.theme = theme
  return { theme, toggle: () => setTheme(theme === "dark" ? "light" : "dark") }
}

const Head = ({ test }: { readonly test: Test }) => (
  <header class="head">
    <h2>
      <span class={classOf(test)}>{markOf(test)}</span> {test.name}
    </h2>
    <span class={classOf(test)}>{test.status === "timedOut" ? "timed out" : test.status}</span>
    <span class="dim">{duration(test.millis)}</span>
    <span class="dim">{test.file}</span>
    {test.result?.skipped === undefined ? null : <span class="dim">{test.result.skipped}</span>}
    {test.failure === undefined ? null : (
      <span
        class="failed"
        data-testid="headline"
      >{`${test.failure.kind}: ${test.failure.message.split("\n")[0]}`}</span>
    )}
  </header>
)

const moves: Readonly<Record<string, number>> = {
  ...{ ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 20, PageUp: -20 },
  ...{ Home: Number.NEGATIVE_INFINITY, End: Number.POSITIVE_INFINITY }
}

const wrong = ({ status }: Row) => status === "failed" || status === "warning"

const App = ({ run }: { readonly run: Run }) => {
  const order = useMemo(() => listed(run), [run])
  const [test, setTest] = useState<Test | undefined>(order[0])
  const [row, setRow] = useState<Row | undefined>(order[0]?.failing)
  const [filter, setFilter] = useState<Filter>({ text: "", hidden: new Set() })
  const [help, setHelp] = useState(false)
  const { theme, toggle } = useTheme()
  const rows = useMemo(() => (test === undefined ? [] : filtered(test.rows, filter)), [test, filter])

  const open = (next: Test | undefined) => {
    if (next === undefined) return
    setTest(next)
    setRow(next.failing)
  }
  const step = (by: number) => {
    const at = row === undefined ? -1 : rows.indexOf(row)
    const next = rows[Math.max(0, Math.min(rows.length - 1, at + by))]
    if (next !== undefined) setRow(next)
  }
  const onKey = (event: KeyboardEvent) => {
    const typing = event.target instanceof HTMLInputElement
    if (event.key === "Escape") {
      setFilter({ ...filter, text: "" })
      document.getElementById("list")?.focus()
      return
    }
    if (event.ctrlKey || event.metaKey || event.altKey || help) return
    const by = moves[event.key]
    if (by !== undefined && (!typing || event.key.startsWith("Arrow"))) step(by)
    else if (typing) return
    else if (event.key === "/") document.getElementById("search")?.focus()
    else if (event.key === "n") setRow(rows.find((one) => wrong(one) && one.index > (row?.index ?? -1)) ?? row)
    else if (event.key === "p")
      setRow(rows.findLast((one) => wrong(one) && row !== undefined && one.index < row.index) ?? row)
    else if (event.key === "]") open(order[order.indexOf(test as Test) + 1])
    else if (event.key === "[") open(order[order.indexOf(test as Test) - 1])
    else if (event.key === "t") toggle()
    else if (event.key === "?") setHelp(true)
    else return
    event.preventDefault()
  }
  // Before the next key: an effect would come after the next picture.
  useLayoutEffect(() => {
    addEventListener("keydown", onKey)
    return () => removeEventListener("keydown", onKey)
  })
  const finals = run.tests.filter(({ retried }) => !retried)
  const failed = finals.filter(isBad).length
  const skipped = finals.filter(({ status }) => status === "skipped").length
  return (
    <div class="app">
      <div class="top">
        <h1>vmtest</h1>
        <span class="ok">{`${finals.length - failed - skipped} passed`}</span>
        <span class={failed > 0 ? "failed" : "dim"}>{`${failed} failed`}</span>
        {skipped > 0 ? <span class="dim">{`${skipped} skipped`}</span> : null}
        {run.interrupted ? <span class="warning">interrupted</span> : null}
        <span class="dim">{duration(run.end - run.at)}</span>
        <span class="dim">{new Date(run.at).toISOString().slice(0, 19).replace("T", " ")} UTC</span>
        <span class="space" />
        <button type="button" onClick={toggle} title="t">
          {theme === "dark" ? "Light" : "Dark"}
        </button>
        <button type="button" onClick={() => setHelp(true)} title="?">
          Keys
        </button>
      </div>
      <Sidebar run={run} selected={test} choose={open} />
      {test === undefined ? (
        <p class="pane">No test has run.</p>
      ) : (
        <main class="main">
          <Head test={test} />
          <Timeline test={test} selected={row} choose={setRow} theme={theme} />
          <div class="below">
            <EventList test={test} rows={rows} filter={filter} setFilter={setFilter} selected={row} choose={setRow} />
            <Details test={test} row={row} />
          </div>
        </main>
      )}
      {help ? <Help close={() => setHelp(false)} /> : null}
    </div>
  )
}

const sheet = document.createElement("style")
sheet.textContent = style
document.head.append(sheet)
const run = runOf(recordsOf(document.getElementById("records")?.textContent ?? ""))
const app = document.getElementById("app")
if (app !== null) render(<App run={run} />, app)
document.documentElement.dataset.ready = String(Math.round(performance.now()))
