/**
 * Machines in a vitest suite, with `@effect/vitest`: shared by the tests of a block (`machines`), or fresh forks for each test (`forks`).
 *
 * A failed method's error names the line of its call. A test may take 30 minutes where neither it nor
 * vitest's `testTimeout` says. The machines start before the block's first test, are shared by its tests, and end after its last test. Tests use the real clock. A test
 * whose subtests failed with `softFail` fails at its end.
 *
 * **Example** (A block of tests with one machine)
 *
 * ```ts
 * import { assert } from "@effect/vitest"
 * import { Effect } from "effect"
 * import { Image } from "vmtest"
 * import { Machine, machines } from "vmtest/vitest"
 *
 * class Web extends Machine<Web>()("web", { image: Image.tiny() }) {}
 *
 * machines(Web)("the web server", (it) => {
 *   it.effect("says hello", () => Effect.gen(function* () {
 *     const web = yield* Web
 *     assert.strictEqual(yield* web.succeed("echo hello"), "hello\n")
 *   }))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Vitest from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import { Driver, type DriverService } from "./driver/Driver.ts"
import * as DriverLayer from "./driver/DriverLayer.ts"
import { Collector, SoftFailures } from "./driver/SoftFailure.ts"
import * as SuiteDriver from "./driver/SuiteDriver.ts"
import * as OutputFolder from "./host/OutputFolder.ts"
import type { Machine as AnyMachine } from "./machine/Machine.ts"

export {
  /** Makes a service of a machine; see `DriverLayer.Machine`. */
  Machine,
  /** What `Machine` makes. */
  type MachineClass
} from "./driver/DriverLayer.ts"

/** The result of `Machine`: a service with the layer that declares its machine. */
export interface MachineService<Self> {
  readonly layer: Layer.Layer<Self, DriverLayer.MachineLayerError, Driver>
  /** The name of its machine. */
  readonly machine: string
}

/** The timeout for the machines of a block to be ready, including a first build of their images. */
export const startTimeout: Duration.Input = "15 minutes"

/**
 * How long a test of a block may take where neither it nor vitest's `testTimeout` says: as long as one of `vmtest run`. vitest's own limit of 5 seconds
 * would end a test before a wait can say what it saw last.
 */
export const testTimeout: Duration.Input = "30 minutes"

/** vitest's default, and what it says that the project asks for. It has no public word for the latter. */
const vitestTimeout = 5000
const configuredTimeout = (): unknown => {
  const worker: unknown = Reflect.get(globalThis, "__vitest_worker__")
  const config = Predicate.hasProperty(worker, "config") ? worker.config : undefined
  return Predicate.hasProperty(config, "testTimeout") ? config.testTimeout : undefined
}

/** Gives the tests of the block that is being collected their time; one that the project has chosen is left as it is. */
const setTimeouts = (): void => {
  const configured = configuredTimeout()
  if (configured !== undefined && configured !== vitestTimeout) return
  const { options } = Vitest.TestRunner.getCurrentSuite()
  if (options !== undefined) options.timeout ??= Duration.toMillis(Duration.fromInputUnsafe(testTimeout))
}

type SelfOf<Service> = Service extends MachineService<infer Self> ? Self : never

/** The layers of services, as one. */
const merged = <const Services extends ReadonlyArray<MachineService<never>>>(services: Services) => {
  const all = services
    .map(({ layer }) => layer)
    .reduce<Layer.Layer<never, DriverLayer.MachineLayerError, Driver>>(
      (merged, layer) => Layer.merge(merged, layer),
      Layer.empty
    )
  // Merging an array forgets which services it provides.
  return all as Layer.Layer<SelfOf<Services[number]>, DriverLayer.MachineLayerError, Driver>
}

/**
 * A block of tests that share these machines and their driver, on this host. Their pictures and copies, and what machines said when a test failed, go to
 * `vmtest-output/<block>/`.
 */
export const machines = <const Services extends ReadonlyArray<MachineService<never>>>(...services: Services) => {
  const provided = merged(services)
  type Block = ReturnType<
    typeof onDriver<SelfOf<Services[number]>, DriverLayer.MachineLayerError, DriverLayer.HostError>
  >
  const block: Block = (name, tests) => onDriver(DriverLayer.layer({ name }), provided)(name, tests)
  return block
}

/** The names of the suites around a test, from that of its block, and its own. */
const pathOf = (block: string, task: Vitest.TestContext["task"]): ReadonlyArray<string> => {
  const names = [task.name]
  for (let suite = task.suite; suite !== undefined && suite.name !== block; suite = suite.suite)
    names.unshift(suite.name)
  return names
}

/** Where what machines said about tests that failed is; for messages. */
const kept = new WeakMap<Vitest.TestContext["task"], string>()

/** Keeps what the machines say about a test that has failed, once. */
const keep = (driver: DriverService, block: string, { task }: Pick<Vitest.TestContext, "task">) =>
  Effect.gen(function* () {
    if (kept.has(task)) return kept.get(task)
    const folder = SuiteDriver.folderOf(driver, pathOf(block, task))
    if (!(yield* SuiteDriver.keep(driver, folder))) return undefined
    kept.set(task, folder)
    return folder
  })

/** Keeps what the machines say if the test fails, also by vitest's timeout, and notes where. */
const keeping =
  (driver: DriverService, block: string, context: Vitest.TestContext) =>
  <A, E, R>(test: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.onExit(test, (exit) => {
      if (Exit.isSuccess(exit)) return Effect.void
      return Effect.flatMap(keep(driver, block, context), (folder) =>
        folder === undefined || Cause.hasInterruptsOnly(exit.cause)
          ? Effect.void
          : Effect.ignore(Effect.tryPromise(() => context.annotate(OutputFolder.shown(folder), "artefacts")))
      )
    })

/** Has the error of a test that failed say where what the machines said is. */
const tellWhere = ({ task }: Pick<Vitest.TestContext, "task">): void => {
  const folder = kept.get(task)
  const error = task.result?.errors?.[0]
  if (folder === undefined || error === undefined) return
  const line = `\nwhat the machines said is in ${OutputFolder.shown(folder)}/`
  error.message += line
  if (error.stack !== undefined) error.stack = error.stack.replace(/^(?=\s+at )/m, `${line.slice(1)}\n`)
}

/** What each test of a block is run in. */
type Around<Outer, Inner> = <A, E>(
  context: Vitest.TestContext,
  test: Effect.Effect<A, E, Inner>
) => Effect.Effect<A, unknown, Outer>

/** `it.effect`, without property tests. */
export type EffectTests<R> = Vitest.Vitest.Test<R> & Omit<Vitest.Vitest.Tester<R>, "prop">

/** Registers tests that run in something. */
const around = <Outer, Inner>(test: Vitest.Vitest.Tester<Outer>, inside: Around<Outer, Inner>): EffectTests<Inner> => {
  // vitest reads which fixtures a test uses from its source.
  const sourceOf = <F extends object>(source: object, made: F): F =>
    Object.defineProperty(made, "toString", { value: () => source.toString() })
  const register =
    (own: Vitest.Vitest.Test<Outer>): Vitest.Vitest.Test<Inner> =>
    (name, self, timeout) =>
      own(
        name,
        sourceOf(self, (context: Vitest.TestContext) =>
          inside(
            context,
            Effect.suspend(() => self(context))
          )
        ),
        timeout
      )
  return Object.assign(register(test), {
    skip: register(test.skip),
    skipIf: (condition: unknown) => register(test.skipIf(condition)),
    runIf: (condition: unknown) => register(test.runIf(condition)),
    only: register(test.only),
    fails: register(test.fails),
    each:
      <T>(cases: ReadonlyArray<T>) =>
      <A, E>(
        name: string,
        self: Vitest.Vitest.TestFunction<A, E, Inner, [T, Vitest.TestContext]>,
        timeout?: number | Vitest.TestOptions
      ): void =>
        test.each(cases)(
          name,
          sourceOf(self, (one: T, context: Vitest.TestContext) =>
            inside(
              context,
              Effect.suspend(() => self(one, context))
            )
          ),
          timeout
        )
  })
}

/** What a block of tests is given to declare them: vitest's own `it`, with another `effect`. */
const withEffect = <Methods extends object, Effects>(
  it: Methods,
  effect: Effects
): Methods & { readonly effect: Effects } =>
  new Proxy(it as Methods & { readonly effect: Effects }, {
    get: (target, key, receiver) => (key === "effect" ? effect : Reflect.get(target, key, receiver))
  })

/** What both kinds of blocks do around their tests. `driver` is that of the block, once it is there. */
const hooks = (block: string, soft: SoftFailures, driver: () => DriverService | undefined): void => {
  setTimeouts()
  // The layer outlives the test, so soft failures are raised at the end of the test itself.
  Vitest.afterEach(() =>
    Effect.runPromise(
      Effect.suspend(() => {
        const failed = soft.take()
        return failed === undefined ? Effect.void : Effect.fail(failed)
      })
    )
  )
  Vitest.beforeEach((context) => {
    kept.delete(context.task)
    context.onTestFailed(async () => {
      const own = driver()
      if (own !== undefined) await Effect.runPromise(keep(own, block, context))
      tellWhere(context)
    })
  })
}

/** The driver's layer, which tells when it is there. */
const noted = <D>(driver: Layer.Layer<Driver, D>, soft: SoftFailures, note: (driver: DriverService) => void) =>
  Layer.provide(
    Layer.tap(driver, (context) => Effect.sync(() => note(Context.get(context, Driver)))),
    Layer.succeed(Collector, soft)
  )

/** As `machines`, with a driver of your own. */
export const onDriver = <Provided, E, D>(
  driver: Layer.Layer<Driver, D>,
  provided: Layer.Layer<Provided, E, Driver>
) => {
  const soft = new SoftFailures()
  let own: DriverService | undefined
  const collected = noted(driver, soft, (made) => {
    own = made
  })
  const block = Vitest.layer(Layer.provideMerge(provided, collected), {
    excludeTestServices: true,
    timeout: startTimeout
  })
  return (name: string, tests: Parameters<typeof block>[1]): void =>
    block(name, (it) => {
      hooks(name, soft, () => own)
      const effect = around<Provided | Driver | Scope.Scope, Provided | Driver | Scope.Scope>(
        it.effect,
        (context, test) => Effect.flatMap(Driver, (driver) => keeping(driver, name, context)(test))
      )
      tests(withEffect(it, Object.assign(effect, { prop: it.effect.prop })))
    })
}

/** Forks of the machines of a block. */
class Base extends Context.Service<Base, { readonly fork: SuiteDriver.Fork }>()("vmtest/vitest/Base") {}

/** How the tests of a block of forks are declared. */
export interface ForkTests<Provided> {
  readonly effect: EffectTests<Provided | Driver | Scope.Scope>
}

/**
 * A block of tests that each run on forks of their own of these machines. The machines start, and are saved, before the first test; a test begins with
 * the machines as they were then, on networks of its own, and nothing of it is left for the next one. Tests can run at once
 * (`it.effect(name, test, { concurrent: true })`).
 *
 * `ready` prepares the machines once, before they are saved.
 */
export const forks = <const Services extends ReadonlyArray<MachineService<never>>>(...services: Services) => {
  type Provided = SelfOf<Services[number]>
  return <E = never>(
    name: string,
    tests: (it: ForkTests<Provided>) => void,
    options: {
      readonly ready?: Effect.Effect<unknown, E, Provided | Driver | Scope.Scope>
      /** Default: a driver on this host. */
      readonly driver?: Layer.Layer<Driver, unknown>
    } = {}
  ): void => {
    const { driver = DriverLayer.layer({ name }), ready = Effect.void } = options
    const soft = new SoftFailures()
    const base = Layer.effect(
      Base,
      Effect.gen(function* () {
        yield* Effect.scoped(ready as Effect.Effect<unknown, E, Driver | Scope.Scope>)
        return { fork: yield* SuiteDriver.base(yield* Driver) }
      })
    )
    const started = Layer.provideMerge(
      merged(services),
      noted(driver, soft, () => undefined)
    )
    Vitest.layer(Layer.provideMerge(base, started), { excludeTestServices: true, timeout: startTimeout })(
      name,
      (it) => {
        hooks(name, soft, () => undefined)
        const provide = <A, E, R>(test: Effect.Effect<A, E, R>, machines: Readonly<Record<string, AnyMachine>>) =>
          services.reduce<Effect.Effect<A, E, R>>((given, service) => {
            const tag = service as MachineService<never> & Context.Service<never, AnyMachine>
            const machine = machines[service.machine]
            return machine === undefined ? given : Effect.provideService(given, tag, machine)
          }, test)
        const effect = around<Base | Provided | Driver | Scope.Scope, Provided | Driver | Scope.Scope>(
          it.effect,
          (context, test) =>
            Effect.flatMap(Base, ({ fork }) =>
              fork((machines, driver) => keeping(driver, name, context)(provide(test, machines)))
            )
        )
        tests({ effect })
      }
    )
  }
}
