/** The tests of the run: those that failed first. */
import { duration, isBad, type Run, type Test } from "./model.ts"

export const markOf = ({ retried, status }: Test): string => {
  if (retried) return "↻"
  if (status === "passed") return "✔"
  return status === "skipped" ? "–" : "✘"
}

export const classOf = ({ retried, status }: Test): string =>
  retried ? "warning" : status === "passed" ? "ok" : status

/** Tests in the order in which they are listed. */
export const listed = ({ tests }: Run): ReadonlyArray<Test> => [
  ...tests.filter(isBad),
  ...tests.filter((test) => !isBad(test))
]

export const Sidebar = ({
  run,
  selected,
  choose
}: {
  readonly run: Run
  readonly selected: Test | undefined
  readonly choose: (test: Test) => void
}) => {
  const groups = Map.groupBy(listed(run), (test) => (isBad(test) ? "Failed" : (test.file ?? "Tests")))
  return (
    <nav class="side" aria-label="Tests">
      {[...groups].map(([title, tests]) => (
        <div key={title}>
          <h2>{title}</h2>
          {tests.map((test) => (
            <button
              key={test.number}
              type="button"
              aria-current={test === selected ? "true" : undefined}
              aria-pressed={test === selected}
              title={test.file}
              onClick={() => choose(test)}
            >
              <span class={classOf(test)}>{markOf(test)}</span>
              <span>{test.attempt > 1 ? `${test.name} (attempt ${test.attempt})` : test.name}</span>
              <span class="dim">{duration(test.millis)}</span>
            </button>
          ))}
        </div>
      ))}
    </nav>
  )
}
