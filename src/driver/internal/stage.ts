/** The machines of tests that run on them one after the other. */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as HostProcess from "../../host/HostProcess.ts"
import * as MachineSpecs from "../../machine/MachineSpec.ts"
import { Reporter, type RunEvent } from "../RunEvent.ts"
import type { Checked } from "./checkTests.ts"
import * as internal from "./driver.ts"
import type { Options as DriverOptions } from "./driverOptions.ts"

/** What the driver tells the test that runs on its machines. */
export interface Actor extends Pick<DriverOptions, "onSubtest"> {
  readonly excluding: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  readonly late: () => unknown
  readonly emit: (event: RunEvent) => Effect.Effect<void>
}

/** A driver whose machines several tests use in turn. */
export interface Stage {
  /** Tells the state folders of its machines apart from those of others. */
  readonly prefix: string
  /** Its folder in the output folder of the run. */
  readonly folder: string
  /** The driver, made for the first test that asks for it, which tells the test that asked last what happens. */
  readonly enter: (
    checked: Checked,
    actor: Actor
  ) => Effect.Effect<internal.Running, Effect.Error<ReturnType<typeof driverOf>>, Services>
}

/** What the driver of a test is made of, whoever shares it. */
export type Given = Pick<DriverOptions, "output" | "capture" | "prefix" | "resolve" | "warm">

/** What declares the machines of a test: its suite, if it has one, so that its tests continue from the same warm-ups. */
const declaredIn = ({ test }: Checked): DriverOptions["declaredIn"] =>
  test.suite === undefined ? undefined : { others: `suite ${test.suite.name}`, machines: new Map() }

/** The driver of one test. */
export const driverOf = Effect.fnUntraced(function* (checked: Checked, given: Given, actor: Omit<Actor, "emit">) {
  const { networks, specs, test } = checked
  yield* Effect.forEach(MachineSpecs.toolsOf(specs), (tool) => HostProcess.locate(tool))
  return yield* internal.make({
    ...given,
    ...{ test: test.name, machines: specs, networks, declaredAt: test.declaredAt, script: test.script },
    declaredIn: declaredIn(checked),
    resolve: (image) => actor.excluding(given.resolve(image)),
    untimed: actor.excluding,
    interruptedBy: actor.late,
    onSubtest: actor.onSubtest
  })
})

type Services = Exclude<Effect.Services<ReturnType<typeof driverOf>>, Scope.Scope>

/** An event of the machines, as one of the test that runs. */
const ofTest = (event: RunEvent, test: string): RunEvent => ("test" in event ? { ...event, test } : event)

/** A stage, until the scope closes. */
export const make = Effect.fnUntraced(function* (folder: string, given: Given) {
  const scope = yield* Effect.scope
  let current: { readonly checked: Checked; readonly actor: Actor } | undefined
  let made: internal.Running | undefined
  let hasBegun = false
  const excluding: Actor["excluding"] = (effect) => Effect.suspend(() => current?.actor.excluding(effect) ?? effect)
  const emit = (event: RunEvent) =>
    current === undefined ? Effect.void : current.actor.emit(ofTest(event, current.checked.test.name))
  const makeFor = (checked: Checked) =>
    driverOf(checked, given, {
      excluding,
      late: () => current?.actor.late(),
      onSubtest: (result, failsLater) => current?.actor.onSubtest(result, failsLater)
    }).pipe(Scope.provide(scope), Effect.provideService(Reporter, emit))
  const stage: Stage = {
    ...{ prefix: given.prefix, folder },
    enter: Effect.fnUntraced(function* (checked: Checked, actor: Actor) {
      current = { checked, actor }
      const running = made ?? (yield* makeFor(checked))
      made = running
      const begin = Effect.suspend(() =>
        hasBegun
          ? Effect.void
          : Effect.tap(running.begin, () =>
              Effect.sync(() => {
                hasBegun = true
              })
            )
      )
      return { ...running, begin }
    })
  }
  return stage
})
