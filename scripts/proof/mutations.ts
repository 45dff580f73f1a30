/**
 * The long proofs of the channels' protocols, without a guest: recorded sessions of the shell and of QMP are cut at every byte
 * in every way, and 10,000 times randomly damaged, each. Exits with 1 when a run hangs, ends late, ends in an error that is not
 * typed, or gives a wrong answer; the smallest damage that does so is printed. `--quick` runs a hundredth of it; `--seed=<n>`
 * runs other damage.
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import {
  closeAfter,
  closings,
  cutAt,
  digits,
  type Fault,
  Mutation,
  mutate,
  under
} from "../../test/transport/faults.ts"
import { layout, recordings } from "../../test/transport/recording.ts"

const quick = process.argv.includes("--quick")
const seed = Number(process.argv.find((arg) => arg.startsWith("--seed="))?.slice("--seed=".length) ?? 1)
const scale = quick ? 100 : 1
const number = (value: number): string => value.toLocaleString("en")
let failures = 0

const say = (ok: boolean, text: string): void => {
  if (!ok) failures++
  console.log(`${ok ? "ok  " : "FAIL"} ${text}`)
}

/** Counts what runs ended in. */
const counter = () => {
  const counts = { sessions: 0, answers: 0, errors: 0 }
  return {
    count: (outcomes: ReadonlyArray<{ readonly outcome: object }>) => {
      counts.sessions++
      for (const { outcome } of outcomes) counts["answer" in outcome ? "answers" : "errors"]++
    },
    text: () =>
      `${number(counts.sessions)} sessions, ${number(counts.answers)} right answers, ${number(counts.errors)} typed errors`
  }
}

for (const recording of recordings()) {
  const begun = performance.now()
  const { total } = layout(recording)
  const each = async (what: string, faults: ReadonlyArray<Fault>) => {
    const counted = counter()
    const sample = faults.filter((_, i) => i % scale === 0)
    let wrong = 0
    for (const [i, fault] of sample.entries()) {
      const result = await Effect.runPromise(Effect.result(under(recording, fault)))
      if (result._tag === "Success") counted.count(result.success)
      else if (wrong++ === 0) console.log(i * scale, result.failure)
    }
    say(wrong === 0, `${recording.peer} ${what}: ${counted.text()}, ${number(wrong)} wrong`)
  }
  const bytes = Array.from({ length: total + 1 }, (_, at) => at)
  await each(
    "dies at every byte",
    bytes.map((at) => cutAt(recording, at, "dies"))
  )
  await each(
    "freezes at every byte",
    bytes.map((at) => cutAt(recording, at, "freezes"))
  )
  await each(
    "closes each connection at every step",
    closings(recording).map(([index, name]) => closeAfter(index, name))
  )
  await each("says each digit wrong", digits(recording))
  const counted = counter()
  const result = await Effect.runPromise(
    Arbitrary.checkEffect(
      Arbitrary.schema(Schema.Array(Mutation)),
      (mutations) =>
        under(recording, mutate(recording, mutations)).pipe(
          Effect.map((outcomes) => {
            counted.count(outcomes)
            return true
          })
        ),
      { runs: 10_000 / scale, seed, maxShrinks: 2000 }
    )
  )
  say(result._tag === "Passed", `${recording.peer}, damaged at random: ${counted.text()}`)
  const wrong = Arbitrary.formatCheckFailure(result)
  if (wrong !== undefined) console.log(wrong)
  console.log(`${recording.peer}: ${((performance.now() - begun) / 1000).toFixed(1)} s`)
}
console.log(failures === 0 ? "mutations: proven" : `mutations: ${failures} failed`)
process.exitCode = failures === 0 ? 0 : 1
