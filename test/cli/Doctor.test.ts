import { assert, describe, it } from "@effect/vitest"
import * as Doctor from "../../src/cli/Doctor.ts"

describe("what vmtest doctor advises", () => {
  it("is to install what is missing, and apart from that what only some need", () => {
    const findings: ReadonlyArray<Doctor.Finding> = [
      { what: "node", state: "ok", detail: "v24" },
      { what: "vde_switch", state: "missing", detail: "not found", package: "vde2" },
      { what: "tesseract", state: "limited", detail: "not found", package: "tesseract-ocr" },
      { what: "vhost-device-vsock", state: "limited", detail: "not found", fix: "cargo install vhost-device-vsock" }
    ]
    const { needed, optional } = Doctor.fixes(findings)
    assert.match(needed.join("\n"), /apt-get install --no-install-recommends vde2$/)
    assert.match(optional.join("\n"), /apt-get install --no-install-recommends tesseract-ocr\ncargo install /)
    assert.deepStrictEqual(Doctor.fixes(findings.slice(0, 1)), { needed: [], optional: [] })
  })
})
