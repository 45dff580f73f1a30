/** What is known of a row, or why the test failed. */
import { useState } from "preact/hooks"
import type { RecordedFailure } from "../src/report/RunRecord.ts"
import { clock, consoleAround, duration, type Node, plain, type Row, type Test, treeAt } from "./model.ts"

const Text = ({
  title,
  text,
  bad = false
}: {
  readonly title: string
  readonly text: string | undefined
  readonly bad?: boolean
}) =>
  text === undefined || text === "" ? null : (
    <>
      <h3>{title}</h3>
      <pre class={bad ? "box bad" : "box"}>{plain(text)}</pre>
    </>
  )

const Frame = ({ place }: { readonly place: NonNullable<RecordedFailure["place"]> }) => {
  const first = place.line - place.before.length
  const rows = [...place.before, place.text, ...place.after]
  return (
    <>
      <h3>{`${place.file}:${place.line}:${place.column}`}</h3>
      <pre class="box frame">
        {rows.map((text, index) => (
          <span key={first + index} class={first + index === place.line ? "hit" : undefined}>
            {`${String(first + index).padStart(4)}  ${text}\n`}
          </span>
        ))}
      </pre>
    </>
  )
}

const Failure = ({ failure }: { readonly failure: RecordedFailure }) => (
  <div>
    {failure.subtest === undefined ? null : <p>{`in the subtest ${failure.subtest.join(" › ")}`}</p>}
    <Text title={failure.kind} text={failure.message} bad />
    {failure.place === undefined ? null : <Frame place={failure.place} />}
    {failure.callers.map((place) => (
      <Frame key={`${place.file}:${place.line}`} place={place} />
    ))}
    {failure.evidence.map(({ text, title }) => (
      <Text key={title} title={title} text={text} />
    ))}
  </div>
)

const Machines = ({ test }: { readonly test: Test }) =>
  test.result === undefined ? null : (
    <>
      <h3>Machines at the end</h3>
      <table class="facts">
        <tbody>
          {test.result.machines.map(({ came, failed, name, state }) => (
            <tr key={name}>
              <td>{name}</td>
              <td class={state === "crashed" ? "failed" : ""}>{failed ?? state}</td>
              <td class="dim">{came}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {test.result.folder === undefined ? null : <p class="dim">{`Its files are in ${test.result.folder}`}</p>}
    </>
  )

const Step = ({ row, test }: { readonly row: Row; readonly test: Test }) => {
  const { start, stop } = row
  const ended = stop?.type === "step-ended" ? stop : undefined
  const failure = stop?.type === "subtest-ended" ? stop.failure : undefined
  return (
    <div>
      <h3>{row.kind === "step" ? `The test is ${row.title}` : row.title}</h3>
      <table class="facts">
        <tbody>
          <tr>
            <td>at</td>
            <td>{clock(row.at - test.at)}</td>
          </tr>
          {row.machine === undefined ? null : (
            <tr>
              <td>machine</td>
              <td>{row.machine}</td>
            </tr>
          )}
          {row.end === undefined ? null : (
            <tr>
              <td>took</td>
              <td>{duration(row.end - row.at)}</td>
            </tr>
          )}
          {row.within.length === 0 ? null : (
            <tr>
              <td>subtest</td>
              <td>{row.within.join(" › ")}</td>
            </tr>
          )}
          {ended?.exitCode === undefined ? null : (
            <tr>
              <td>exit code</td>
              <td class={ended.exitCode === 0 ? "ok" : "failed"} data-testid="exit-code">
                {ended.exitCode}
              </td>
            </tr>
          )}
          {row.status === "running" ? (
            <tr>
              <td>end</td>
              <td class="warning">it did not end</td>
            </tr>
          ) : null}
        </tbody>
      </table>
      <Text title="Command" text={start.type === "step-started" ? start.command : undefined} />
      <Text title="Standard output" text={ended?.stdout} />
      <Text title="Standard error" text={ended?.stderr} />
      <Text title="Error" text={ended?.error} bad />
      {failure === undefined ? null : <Failure failure={failure} />}
      {row.kind === "machine" || row.kind === "process" ? <Text title="Detail" text={row.note} /> : null}
      {start.type === "booting" ? <Text title="It waits" text={start.detail} /> : null}
      {start.type === "picture" ? <p class="dim">{start.path}</p> : null}
    </div>
  )
}

const Console = ({ row, test }: { readonly row: Row; readonly test: Test }) => {
  const at = row.end ?? row.at
  const { after, before } = consoleAround(test, row.machine, at)
  const line = ({ index, machine, title }: Row) => (
    <span key={index}>{`${row.machine === undefined ? `${machine} │ ` : ""}${title}\n`}</span>
  )
  return (
    <div>
      <h3>{`The console${row.machine === undefined ? "s" : ` of ${row.machine}`} at ${clock(at - test.at)}`}</h3>
      {before.length + after.length === 0 ? <p class="dim">It said nothing.</p> : null}
      <pre>
        {before.map(line)}
        <div class="now" ref={(element) => element?.scrollIntoView({ block: "center" })}>
          at that moment
        </div>
        <span class="dim">{after.map(line)}</span>
      </pre>
    </div>
  )
}

const Pictures = ({ row, test }: { readonly row: Row; readonly test: Test }) => {
  const at = row.end ?? row.at
  const own = test.pictures.filter(({ machine }) => row.machine === undefined || machine === row.machine)
  const until = own.filter((one) => one.at <= at)
  const shown = row.start.type === "picture" ? row.start : (until.at(-1) ?? own[0])
  if (shown === undefined) return <p class="dim">No picture was taken.</p>
  return (
    <figure>
      <figcaption class="dim">{`${shown.machine} at ${clock(shown.at - test.at)}: ${shown.path}`}</figcaption>
      {shown.png === undefined ? (
        <p>It is too large for this report.</p>
      ) : (
        <img src={`data:image/png;base64,${shown.png}`} alt={`the screen of ${shown.machine}`} />
      )}
    </figure>
  )
}

const Branch = ({ nodes }: { readonly nodes: ReadonlyArray<Node> }) => (
  <ul>
    {nodes.map(({ children, process }) => (
      <li key={process.id}>
        <span class={process.restarted ? "warning" : ""}>{process.name}</span>{" "}
        <span class="dim">{`${process.kind}${process.restarted ? ", was started again" : ""}`}</span>
        {children.length === 0 ? null : <Branch nodes={children} />}
      </li>
    ))}
  </ul>
)

const Tree = ({ at, test }: { readonly at: number; readonly test: Test }) => (
  <div class="tree">
    <h3>{`The supervision tree at ${clock(at - test.at)}`}</h3>
    <Branch nodes={treeAt(test, at)} />
  </div>
)

const tabs = ["Step", "Console", "Screen", "Processes", "Failure"] as const
type Tab = (typeof tabs)[number]

export const Details = ({ row, test }: { readonly row: Row | undefined; readonly test: Test }) => {
  const [asked, setAsked] = useState<Tab>("Step")
  const there = tabs.filter((tab) => (tab === "Failure" ? test.failure !== undefined : row !== undefined))
  const tab = there.includes(asked) ? asked : there[0]
  const at = row === undefined ? test.end : (row.end ?? row.at)
  return (
    <section class="details" aria-label="Details">
      <div class="bar" role="tablist">
        {there.map((name) => (
          <button key={name} type="button" role="tab" aria-selected={name === tab} onClick={() => setAsked(name)}>
            {name}
          </button>
        ))}
      </div>
      <div class="pane" role="tabpanel" key={tab}>
        {tab === "Step" && row !== undefined ? <Step row={row} test={test} /> : null}
        {tab === "Console" && row !== undefined ? <Console row={row} test={test} /> : null}
        {tab === "Screen" && row !== undefined ? <Pictures row={row} test={test} /> : null}
        {tab === "Processes" ? <Tree at={at} test={test} /> : null}
        {tab === "Failure" && test.failure !== undefined ? <Failure failure={test.failure} /> : null}
        {tab === "Failure" || tab === undefined ? <Machines test={test} /> : null}
      </div>
    </section>
  )
}
