import { Context, Effect, Layer } from "effect"
import { Supervisor } from "vmtest/actors"

class Connection extends Context.Service<Connection, { readonly number: number }>()("Connection") {}
class Session extends Context.Service<Session, { readonly over: number }>()("Session") {}

let connections = 0
const ConnectionLive = Layer.sync(Connection, () => ({ number: ++connections }))
const SessionLive = Layer.effect(
  Session,
  Effect.map(Connection, ({ number }) => ({ over: number }))
)

// A Layer as a child is built in its own process. Later children can use it, and a restart builds it again.
const Tree = Supervisor.layer({
  strategy: "restForOne",
  children: [Supervisor.childLayer("connection", ConnectionLive), Supervisor.childLayer("session", SessionLive)]
})

export const program = Effect.provide(
  Effect.map(Session, ({ over }) => over),
  Tree
)

export const expected = 1
