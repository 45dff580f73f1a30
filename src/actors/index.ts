/**
 * OTP on Effect fibers: processes, generic servers and supervisors.
 *
 * @since 0.1.0
 */
export * as ActorSystem from "./ActorSystem.ts"
export * as Application from "./Application.ts"
export * as CallError from "./CallError.ts"
export * as DynamicSupervisor from "./DynamicSupervisor.ts"
export * as ExitReason from "./ExitReason.ts"
export * as GenServer from "./GenServer.ts"
export * as GenStatem from "./GenStatem.ts"
export * as Observer from "./Observer.ts"
export * as PartitionSupervisor from "./PartitionSupervisor.ts"
export * as Pid from "./Pid.ts"
export * as Process from "./Process.ts"
export * as Registry from "./Registry.ts"
export * as RegistryError from "./RegistryError.ts"
export * as Report from "./Report.ts"
export * as Supervisor from "./Supervisor.ts"
export * as SupervisorError from "./SupervisorError.ts"
export * as Task from "./Task.ts"
export * as TaskSupervisor from "./TaskSupervisor.ts"
