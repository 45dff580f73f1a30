/**
 * A machine that a start script of NixOS, or another command line of QEMU, starts.
 *
 * It gets what the driver of nixpkgs gives it: variables, the control socket, a console for the shell, the serial console. What is more are virtio
 * ports, on which the shell of that console starts the lanes. Where QEMU refuses one of these additions, it is started again without it.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Disk from "../../host/Disk.ts"
import type { StartScript } from "../../images/BootImage.ts"
import { virtConsole } from "../../transport/GuestChannel.ts"
import { QmpError, type QmpFailure, type QmpService } from "../../transport/qmp/Qmp.ts"
import { Transport, type TransportService } from "../../transport/Transport.ts"
import * as VirtConsole from "../../transport/VirtConsole.ts"
import type { Hypervisor, MachineShape, SavedMachine } from "../Backend.ts"
import { type BackendError, type LoadFailed, type StartFailed, unsupported } from "../BackendError.ts"
import { cardId, plugIn, type Sockets, socketsIn } from "./command.ts"
import { loadFailed, run, type Settings, startFailed } from "./machine.ts"
import { type Additions, commandOf, problemOf, type ScriptPlan, shellSocketIn, stateOf } from "./scriptCommand.ts"
import { endStrays, entryOf } from "./strays.ts"
import * as Vde from "./vde.ts"
import * as whole from "./whole.ts"

/** Starts it, or continues from a saved one. */
export const start: (
  shape: MachineShape,
  settings: Settings,
  from: SavedMachine | undefined
) => Effect.Effect<Hypervisor, BackendError, Scope.Scope> = Effect.fnUntraced(function* (shape, settings, from) {
  const script = shape.image.startScript
  if (script === undefined || script.container) return yield* unsupported("qemu", "containers")
  const saved = from === undefined ? undefined : yield* whole.read(shape, from)
  // Programs run for the VLANs alone that it plugs cards into.
  const networks = shape.networks.filter(({ vlan }) => script.vlans?.includes(vlan) !== false)
  const vdes = script.runner === undefined ? yield* Vde.cardsOf({ ...shape, networks }, startFailed(shape)) : []
  const parts: Parts = { shape, settings, script, from, vdes, disks: saved?.disks ?? [] }
  const most: Additions = {
    ports: script.ports,
    emulate: settings.accelerator === "tcg" && !script.accelerated
  }
  return yield* attempt(parts, saved === undefined ? most : saved.additions)
})

interface Parts {
  readonly shape: MachineShape
  readonly settings: Settings
  readonly script: StartScript
  readonly from: SavedMachine | undefined
  readonly vdes: ReadonlyArray<Vde.VdeCard>
  /** The disks of the saved machine, in the machine's folder. */
  readonly disks: ReadonlyArray<string>
}

/** What QEMU says of an addition that it does not take, and the start without it. */
const refusals: ReadonlyArray<readonly [said: RegExp, less: (all: Additions) => Additions, what: string]> = [
  [/-accel.* and .*-machine accel=/i, (all) => ({ ...all, emulate: false }), "its accelerator is the script's own"],
  [
    /virtserialport|virtio-serial-(pci|device)|\bports\d|\bport\d+\b|no (free )?slot|slot .*not available/i,
    (all) => ({ ...all, ports: false }),
    "QEMU takes no virtio ports; commands go over its console, slowly"
  ]
]

const attempt = (parts: Parts, additions: Additions): Effect.Effect<Hypervisor, BackendError, Scope.Scope> =>
  Effect.gen(function* () {
    const { from, shape } = parts
    const scope = yield* Scope.fork(yield* Effect.scope)
    const started = yield* Effect.exit(Scope.provide(launch(parts, additions), scope))
    if (Exit.isSuccess(started)) return started.value
    yield* Scope.close(scope, Exit.void)
    const error = started.cause.reasons.find((reason) => reason._tag === "Fail")?.error
    if (error?._tag !== "StartFailed" || from !== undefined) return yield* Effect.failCause(started.cause)
    for (const [said, less, what] of refusals) {
      const next = less(additions)
      if (!said.test(error.output) || (next.ports === additions.ports && next.emulate === additions.emulate)) continue
      yield* Effect.logWarning(`${shape.name}: ${what}`)
      return yield* attempt(parts, next)
    }
    return yield* Effect.failCause(started.cause)
  })

/** What it has to do for QEMU to be reached. */
const mustDo = ({ runner }: StartScript): string =>
  runner === undefined
    ? "a start script must hand its arguments or $QEMU_OPTS on to QEMU"
    : "a runner must start QEMU as its last command, with the control socket that vmtest adds"

/** How long what started QEMU may take to clean up after QEMU has ended. */
const cleanUp = "10 seconds"

const launch = Effect.fnUntraced(function* (
  { disks, from, script, settings, shape, vdes }: Parts,
  additions: Additions
) {
  // After everything else has ended.
  yield* Effect.addFinalizer(() => endStrays(shape.directory))
  const sockets = socketsIn(shape)
  const failed = failedOf(shape, from)
  const { extraArguments: extra, timeScale } = settings
  const plan: ScriptPlan = { shape, script, sockets, vdes, additions, extra, incoming: from !== undefined }
  const problem = problemOf(plan)
  if (problem !== undefined) return yield* failed(problem, "")
  yield* Effect.mapError(
    from === undefined ? clear(shape) : Effect.andThen(clear(shape), whole.putDisks(shape, from, disks)),
    (reason) => failed(reason, "")
  )
  // Before QEMU starts, which connects to it.
  const transport = yield* listen(shape, sockets, additions)
  const called = script.runner === undefined ? "start script" : "runner"
  const begin = (control: QmpService) =>
    Effect.gen(function* (): Effect.fn.Return<void, LoadFailed | StartFailed | QmpFailure, Scope.Scope> {
      if (script.runner !== undefined) yield* Effect.mapError(plugIn(shape, sockets), (reason) => failed(reason, ""))
      if (from === undefined) yield* forward(shape, control)
      else yield* whole.load({ shape, sockets, control, from, timeScale })
    })
  const hypervisor = yield* run({
    ...{ shape, sockets, timeScale, failed },
    ...{ called, talks: true },
    spawn: {
      ...commandOf(plan),
      cwd: stateOf(shape),
      wholeGroup: true,
      mark: entryOf(shape.directory)
    },
    answers: {
      within: Duration.millis(script.timeout),
      otherwise: `no QEMU answered within ${Duration.format(Duration.millis(script.timeout))}; ${mustDo(script)}`
    },
    before: from === undefined ? undefined : whole.consoleOf(from),
    begin: (control) => Effect.as(begin(control), undefined),
    transport: () => Layer.succeed(Transport, transport),
    control: {
      save: (saving, directory) => whole.save(saving, directory, additions),
      setLink:
        script.runner === undefined
          ? (control, device, up) =>
              setLink(
                control,
                shape,
                device,
                vdes.find((card) => card.device === device),
                up
              )
          : (control, device, up) => Effect.asVoid(control.execute("set_link", { name: cardId(device), up }))
    }
  })
  // Its console is closed when QEMU has ended: what started it may clean up, but not for ever.
  yield* transport.bootstrap.pipe(
    Effect.flatMap(({ closed }) => closed),
    Effect.andThen(Effect.sleep(cleanUp)),
    Effect.andThen(hypervisor.kill),
    Effect.ignore,
    Effect.forkScoped
  )
  return hypervisor
})

const failedOf =
  (shape: MachineShape, from: SavedMachine | undefined) =>
  (reason: string, output: string): StartFailed | LoadFailed => {
    if (from !== undefined) return loadFailed(shape, from)(reason, output)
    const hint = /ended with exit code 0$/.test(reason) ? ", but must run QEMU in the foreground" : ""
    return startFailed(shape)(reason + hint, output)
  }

/** Makes its folders. What the last start said is not what this one says. */
const clear = (shape: MachineShape): Effect.Effect<void, string> =>
  Effect.try({
    try: () => {
      for (const folder of [stateOf(shape), ...(shape.shared === undefined ? [] : [shape.shared])]) {
        Fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
      }
      Fs.rmSync(Path.join(shape.directory, "qemu.log"), { force: true })
    },
    catch: Disk.reasonOf
  })

const listen = (shape: MachineShape, sockets: Sockets, { ports }: Additions) =>
  VirtConsole.make({
    machine: shape.name,
    channel: virtConsole({
      socket: shellSocketIn(shape.directory),
      listen: true,
      ...(ports ? { ports: sockets.ports.slice(1) } : {})
    })
  }).pipe(
    Effect.mapError(({ reason }): StartFailed => startFailed(shape)(`could not listen for its shell: ${reason}`, ""))
  ) satisfies Effect.Effect<TransportService, StartFailed, Scope.Scope>

/** The ports of the host that lead to it, over whatever network of the user's own the script gives it. */
const forward = (shape: MachineShape, control: QmpService) =>
  Effect.forEach(
    shape.forwards,
    ({ guestPort, hostPort, protocol }) =>
      Effect.flatMap(control.hmp(`hostfwd_add ${protocol}:127.0.0.1:${hostPort}-:${guestPort}`), (said) =>
        said.trim() === ""
          ? Effect.void
          : Effect.fail(startFailed(shape)(`could not forward port ${hostPort}: ${said.trim()}`, ""))
      ),
    { discard: true }
  )

/**
 * The cards that are on a VLAN, by what QEMU says of its network: `virtio-net-pci.1: index=0,type=nic,…`, and under it the end that it is plugged
 * into, ` \ vlan1: index=0,type=vde,sock=/run/vde1.ctl,fd=23`.
 */
export const cardsOn = (socket: string, network: string): ReadonlyArray<string> =>
  [...network.matchAll(/^(\S+): index=\d+,type=nic,.*\r?\n \\ \S+: .*$/gm)].flatMap(([text, card = ""]) =>
    text.includes(`sock=${socket},`) ? [card] : []
  )

const setLink = Effect.fnUntraced(function* (
  control: QmpService,
  { name: machine, networks }: MachineShape,
  device: string,
  card: Vde.VdeCard | undefined,
  up: boolean
) {
  const cards = card === undefined ? [] : cardsOn(card.folder, yield* control.hmp("info network"))
  if (cards.length === 0) {
    return yield* new QmpError({
      ...{ machine, command: "set_link", class: "DeviceNotFound" },
      desc: `its start script plugs no card into $QEMU_VDE_SOCKET_${networks.find((one) => one.device === device)?.vlan ?? ""}`
    })
  }
  yield* Effect.forEach(cards, (card) => control.execute("set_link", { name: card, up }), { discard: true })
})
