import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"
import * as Mock from "../../src/backends/mock/Mock.ts"
import * as Runner from "../../src/driver/Runner.ts"
import { test } from "../../src/driver/TestCase.ts"
import * as RunDirectory from "../../src/host/RunDirectory.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import { collectSpans } from "../spans.ts"
import { imageStore, offline } from "./support.ts"

const services = Layer.mergeAll(
  Mock.layer(),
  Layer.succeed(ImageStore, imageStore),
  RunDirectory.layer(),
  NodeServices.layer
)

const nameOf = (parent: Option.Option<Tracer.AnySpan>) => {
  const span = Option.getOrUndefined(parent)
  return span?._tag === "Span" ? span.name : undefined
}

describe("a run in an application that traces", () => {
  it.live("is one trace a test, its machines' start and its subtests within it", () =>
    Effect.gen(function* () {
      const { collect, named, spans } = collectSpans()
      const outcome = yield* Runner.run(
        [
          test("looks well", { machines: { web: offline() } }, ({ web }, driver) =>
            driver.subtest("outer", driver.subtest("inner", web.succeed("true")))
          ),
          test("goes wrong", {}, (_, driver) => driver.subtest("part", Effect.fail("no"), { softFail: true }))
        ],
        { output: "unused", snapshots: false }
      ).pipe(Effect.provide(services), collect)
      assert.deepStrictEqual(
        outcome.map(({ status }) => status),
        ["passed", "failed"]
      )
      assert.deepStrictEqual(
        named("vmtest.test").map(({ attributes }) => Object.fromEntries(attributes)),
        [
          { "vmtest.test.name": "looks well", "vmtest.test.status": "passed" },
          { "vmtest.test.name": "goes wrong", "vmtest.test.status": "failed" }
        ]
      )
      const [outer, inner, part] = named("vmtest.subtest")
      assert.strictEqual(nameOf(outer!.parent), "vmtest.test")
      assert.strictEqual(Option.getOrUndefined(inner!.parent), outer)
      assert.strictEqual(inner!.attributes.get("vmtest.subtest.name"), "inner")
      assert.strictEqual(inner!.attributes.get("vmtest.subtest.path"), "outer › inner")
      assert.strictEqual(part!.attributes.get("vmtest.test.status"), "failed")
      const [started] = named("vmtest.driver.start")
      assert.strictEqual(nameOf(started!.parent), "vmtest.test")
      assert.deepStrictEqual(started!.attributes.get("vmtest.machines"), ["web"])
      const [booted] = named("vmtest.boot")
      assert.strictEqual(booted!.traceId, outer!.traceId)
      assert.deepStrictEqual(Object.fromEntries(booted!.attributes), {
        "vmtest.machine": "web",
        "vmtest.boot.number": 1,
        "vmtest.forked": false
      })
      assert.strictEqual(new Set(spans.filter(({ traceId }) => traceId === outer!.traceId)).size >= 4, true)
      assert.isTrue(spans.every(({ status }) => status._tag === "Ended"))
      assert.deepStrictEqual(
        named("vmtest.test").map(({ status }) => status._tag === "Ended" && status.exit._tag),
        ["Success", "Failure"]
      )
    })
  )
})
