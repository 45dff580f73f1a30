/**
 * The process of a machine: a state machine over all its boots.
 *
 * stopped → booting → ready ⇄ paused → stopped | crashed
 *
 * It starts a supervisor for each boot, hears from that one's processes what they have made, and monitors them. Requests that come too early
 * are postponed until the state that can answer them. What it knows is published in a {@link MachineRef} and so outlives its own restart.
 */
import * as Effect from "effect/Effect"
import * as ExitReason from "../../actors/ExitReason.ts"
import type * as GenServer from "../../actors/GenServer.ts"
import * as GenStatem from "../../actors/GenStatem.ts"
import * as Process from "../../actors/Process.ts"
import * as Task from "../../actors/Task.ts"
import type { Life, Running } from "./boot.ts"
import * as Boot from "./boot.ts"
import { type MachineRef, type Protocol, protocol } from "./protocol.ts"
import type { Settings, Step, Transitions } from "./transitions.ts"

type From<K extends keyof Protocol> = GenServer.From<GenServer.ReplyOf<Protocol[K]>, GenServer.ErrorOf<Protocol[K]>>
type Payload<K extends keyof Protocol> = GenStatem.PayloadOf<Protocol[K]>

const keep = GenStatem.keepStateAndData()
const postpone = GenStatem.keepStateAndData(GenStatem.postpone)
const reply = <A, E>(from: GenServer.From<A, E>, value: NoInfer<A>) =>
  GenStatem.keepStateAndData(GenStatem.reply(from, ...([value] as never)))

/** What the processes of an earlier attempt say is not heard. */
const ofThisAttempt =
  <P extends { readonly attempt: number }>(handle: (life: Running, payload: P) => Step) =>
  (payload: P, life: Running): Step | typeof keep =>
    payload.attempt === life.boot.attempt ? handle(life, payload) : keep

/** While a boot is on. */
const runningHandlers = (on: Transitions) => ({
  launch: (_: unknown, life: Running, from: From<"launch">) => reply(from, life.boot),
  // Who asks for an earlier boot has heard of its end.
  ready: (number: number, { boot }: Running, _from: From<"ready">) => (number === boot.number ? postpone : keep),
  hypervisor: (number: number, { boot }: Running, from: From<"hypervisor">) => {
    if (number !== boot.number) return keep
    return boot.hypervisor === undefined ? postpone : reply(from, boot.hypervisor)
  },
  control: (number: number, life: Running, from: From<"control">) => {
    if (number !== life.boot.number) return keep
    return life.boot.control === undefined ? on.waitForControl(life, from) : reply(from, life.boot.control)
  },
  cancel: (number: number, life: Running, from: From<"cancel">) =>
    number === life.boot.number && life.boot.hypervisor === undefined ? on.cancelled(life, from) : reply(from, false),
  rebooting: (_: undefined, { boot }: Running, from: From<"rebooting">) => reply(from, boot.resets),
  up: (payload: Payload<"up">, life: Running, from: From<"up">) =>
    payload.attempt === life.boot.attempt ? on.up(life, payload, from) : reply(from, undefined),
  origin: ofThisAttempt<Payload<"origin">>((life, { origin }) => on.origin(life, origin)),
  failed: (payload: Payload<"failed">, life: Running, from: From<"failed">) =>
    payload.attempt === life.boot.attempt ? on.failed(life, payload, GenStatem.reply(from)) : reply(from, undefined),
  exited: (payload: Payload<"exited">, life: Running, from: From<"exited">) =>
    payload.attempt === life.boot.attempt
      ? on.exited(life, payload.exit, GenStatem.reply(from))
      : reply(from, undefined),
  disconnected: ofThisAttempt<Payload<"disconnected">>((life) => on.changed(life, { control: undefined })),
  step: ofThisAttempt<Payload<"step">>((life, { step }) => on.step(life, step)),
  reset: (attempt: number, life: Running) => (attempt === life.boot.attempt ? on.reset(life) : keep),
  goingDown: (_: Payload<"goingDown">, _life: Life, from: From<"goingDown">) => reply(from, undefined),
  rebooted: ({ number }: Payload<"rebooted">, { boot }: Running, _from: From<"rebooted">) =>
    number === boot.number ? postpone : keep,
  notRebooted: () => keep,
  asked: (asked: boolean, life: Running) => on.changed(life, { asked }),
  paused: (_: boolean, _life: Life, from: From<"paused">) => reply(from, undefined),
  doubt: (_: unknown, life: Running) => on.doubt(life),
  late: (_: unknown, life: Running) => on.late(life),
  recover: (_: unknown, life: Running) => on.recover(life)
})

/** Who asks for a boot that is over hears why. */
const lost = <A>(ref: MachineRef, from: GenServer.From<A, Boot.Loss>, boot: Boot.Boot | undefined) =>
  GenStatem.keepStateAndData(GenStatem.failReply(from, boot?.loss ?? Boot.neverStarted(ref.machine)))

/** While none is on. */
const offHandlers = (ref: MachineRef, on: Transitions) => ({
  ...runningHandlers(on),
  launch: (origin: Payload<"launch">, _life: Life, from: From<"launch">) => on.launch(origin, from),
  ready: (_: number, { boot }: Life, from: From<"ready">) => lost(ref, from, boot),
  hypervisor: (_: number, { boot }: Life, from: From<"hypervisor">) => lost(ref, from, boot),
  control: (_: number, { boot }: Life, from: From<"control">) => lost(ref, from, boot),
  rebooting: (_: undefined, { boot }: Life, from: From<"rebooting">) => reply(from, boot?.resets ?? 0),
  rebooted: (_: Payload<"rebooted">, { boot }: Life, from: From<"rebooted">) => lost(ref, from, boot),
  up: (_: Payload<"up">, _life: Life, from: From<"up">) => reply(from, undefined),
  origin: () => keep,
  failed: (_: Payload<"failed">, _life: Life, from: From<"failed">) => reply(from, undefined),
  exited: (_: Payload<"exited">, _life: Life, from: From<"exited">) => reply(from, undefined),
  cancel: (_: number, _life: Life, from: From<"cancel">) => reply(from, true),
  disconnected: () => keep,
  step: () => keep,
  reset: () => keep,
  asked: () => keep,
  doubt: () => keep,
  late: () => keep,
  recover: () => keep
})

/** The process of a machine that was not started yet. */
export const make = (settings: Settings, on: Transitions) => {
  const { ref } = settings
  const running = runningHandlers(on)
  const off = offHandlers(ref, on)
  const isReady = {
    ...running,
    ready: (number: number, { boot }: Running, from: From<"ready">) =>
      number === boot.number ? reply(from, boot) : keep
  }

  const pauses = (yes: boolean, life: Running, from: From<"paused">) =>
    yes ? on.paused(life, from) : reply(from, undefined)
  const resumes = (yes: boolean, life: Running, from: From<"paused">) =>
    yes ? reply(from, undefined) : on.resumed(life, from)

  const info = (message: unknown, life: Running): Step | typeof keep => {
    if (message instanceof Process.Down) return on.down(life, message)
    if (message instanceof Task.TaskReply) return on.taskReply(life, message)
    return keep
  }

  return GenStatem.make<Life>()(protocol, {
    label: "Machine",
    // It ends what it started, and hears of what crashed, instead of ending with it.
    init: () => Effect.map(Process.trapExit(true), () => GenStatem.ok(ref.life, GenStatem.startTimeout("recover", 0))),
    states: {
      Stopped: { handlers: off },
      Crashed: { handlers: off },
      Starting: { handlers: running, info },
      Booting: {
        handlers: {
          ...running,
          notRebooted: (resets: number, life: Running) => on.notRebooted(life, resets),
          paused: pauses
        },
        info
      },
      Ready: {
        handlers: {
          ...isReady,
          rebooting: (_: undefined, life: Running, from: From<"rebooting">) => on.rebooting(life, from),
          goingDown: ({ number, resets }: Payload<"goingDown">, life: Running, from: From<"goingDown">) =>
            number === life.boot.number && resets === life.boot.resets
              ? on.goingDown(life, from)
              : reply(from, undefined),
          rebooted: ({ number, resets }: Payload<"rebooted">, { boot }: Running, from: From<"rebooted">) => {
            if (number !== boot.number) return keep
            return boot.resets >= resets ? reply(from, boot) : postpone
          },
          paused: pauses
        },
        info
      },
      Paused: {
        handlers: {
          ...isReady,
          paused: resumes
        },
        info
      },
      PausedInBoot: {
        handlers: {
          ...running,
          paused: resumes
        },
        info
      }
    },
    // One that crashed has a successor, which finds the boot as it is.
    terminate: (reason, life) =>
      Boot.isRunning(life) && ExitReason.isNormal(reason)
        ? Effect.asVoid(on.finish(life, Boot.ended(ref.machine, life.boot)))
        : Effect.void
  })
}
