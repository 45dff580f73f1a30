/** The tests of reports.test.ts. Many fail on purpose: their reports are compared with those in golden/. */
import assert from "node:assert/strict"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { Image, test } from "vmtest"

class NoLuck extends Data.TaggedError("NoLuck")<{ readonly reason: string }> {
  override get message() {
    return `no luck: ${this.reason}`
  }
}

const tiny = { box: { image: Image.tiny(), vlans: [] } }
const two = { client: { image: Image.tiny() }, server: { image: Image.tiny() } }
const debian = { deb: { image: Image.debian(), vlans: [] } }

/** Without machines. */
const plain = [
  test("passes", {}, () => Effect.void),
  test("fails with an error of its own", {}, () => Effect.fail(new NoLuck({ reason: "it is Monday" }))),
  test("fails with a value", {}, () => Effect.fail("a value")),
  test("dies", {}, () => Effect.die(new RangeError("out of range"))),
  test("throws", {}, () =>
    Effect.sync(() => {
      throw new TypeError("thrown")
    })
  ),
  test("fails with a cause", {}, () => Effect.fail(new Error("outer", { cause: new Error("inner") }))),
  test("compares values", {}, () => Effect.sync(() => assert.deepEqual({ a: 1, b: [2] }, { a: 1, b: [3] }))),
  test("says control characters", {}, () => Effect.fail(new Error("a \u001b[31mred\u001b[0m bell\u0007 <&>"))),
  test("times out", { timeout: "500 millis" }, () => Effect.never),
  test("passes in subtests", {}, (_, driver) =>
    driver.subtest("outer", driver.subtest("inner", driver.log("a line in <inner>")))
  ),
  test("fails in a subtest of a subtest", {}, (_, driver) =>
    driver.subtest("outer", driver.subtest("inner", Effect.fail(new NoLuck({ reason: "deep" }))))
  ),
  test("handles what fails in a subtest", {}, (_, driver) =>
    Effect.ignore(driver.subtest("handled", Effect.fail(new NoLuck({ reason: "foreseen" }))))
  ),
  test("fails softly twice", {}, (_, driver) =>
    Effect.gen(function* () {
      yield* driver.subtest("first", Effect.fail("one"), { softFail: true })
      yield* driver.subtest("second", Effect.fail("two"), { softFail: true })
      yield* driver.subtest("third", Effect.void)
    })
  ),
  test("has a fiber that fails", {}, () =>
    Effect.andThen(Effect.forkScoped(Effect.fail(new NoLuck({ reason: "in a fiber" }))), Effect.sleep("20 millis"))
  )
]

/** On a guest of busybox. */
const small = [
  test("runs a command", { machines: tiny }, ({ box }) => box.succeed("echo hello")),
  test("runs a command that fails", { machines: tiny }, ({ box }) => box.succeed("echo out; echo err >&2; exit 3")),
  test("runs a command that should fail", { machines: tiny }, ({ box }) => box.fail("true")),
  test("runs a command for too long", { machines: tiny }, ({ box }) =>
    box.succeed("sleep 100", { timeout: "1 second" })
  ),
  test("writes and reads a file", { machines: tiny }, ({ box }) =>
    Effect.gen(function* () {
      yield* box.writeFile("/tmp/a", "text\n")
      assert.equal(yield* box.succeed("cat /tmp/a"), "text\n")
    })
  ),
  test("waits for a file in vain", { machines: tiny }, ({ box }) =>
    box.waitForFile("/nowhere/at/all", { timeout: "1 second" })
  ),
  test("waits for a port", { machines: tiny }, ({ box }) =>
    Effect.andThen(box.succeed("httpd -p 8080 -h /tmp"), box.waitForOpenPort(8080))
  ),
  test("has no systemd", { machines: tiny }, ({ box }) => box.waitForUnit("sshd")),
  test("takes a picture, and fails", { machines: tiny }, ({ box }) =>
    Effect.andThen(box.screenshot("before"), Effect.fail(new NoLuck({ reason: "after the picture" })))
  ),
  test("loses its machine", { machines: tiny }, ({ box }) => Effect.andThen(box.crash(), box.succeed("true"))),
  test("asks for what is not declared", { machines: tiny }, ({ box }) =>
    box.succeed("true", { timeout: "soon" as "1 second" })
  ),
  test("forgets to run an effect", { machines: tiny }, ({ box }) =>
    Effect.sync(() => {
      box.succeed("never run")
    })
  ),
  test("has two machines on a network", { machines: two }, ({ client }, driver) =>
    driver.subtest("ping", client.succeed("ping -c 1 -W 20 server"))
  )
]

/** On a guest with systemd. */
const large = [
  test("starts a unit that fails", { machines: debian }, ({ deb }) =>
    Effect.gen(function* () {
      yield* deb.waitForUnit("multi-user.target")
      yield* deb.execute("systemd-run --unit=broken sh -c 'exit 7'")
      yield* deb.waitForUnit("broken")
    })
  ),
  test("knows its services", { machines: debian }, ({ deb }) => deb.succeed("systemctl is-active dbus || true")),
  test("waits for a unit in vain", { machines: debian }, ({ deb }) =>
    deb.waitForUnit("nothing.service", { timeout: "2 seconds" })
  )
]

export default [...plain, ...small, ...large]
