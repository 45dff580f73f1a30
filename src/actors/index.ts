/**
 * OTP on Effect fibers: processes, generic servers and supervisors.
 *
 * @since 0.1.0
 */
export * as ActorSystem from "./ActorSystem.ts"
export * as CallError from "./CallError.ts"
export * as ExitReason from "./ExitReason.ts"
export * as GenServer from "./GenServer.ts"
export * as Pid from "./Pid.ts"
export * as Process from "./Process.ts"
