import { defineConfig } from "vitest/config"

const alias = [
  { find: /^vmtest$/, replacement: "/work/wt/runs/src/index.ts" },
  { find: /^vmtest\/vitest$/, replacement: "/work/wt/runs/src/vitest.ts" }
]
export default defineConfig({ resolve: { alias }, test: { include: ["*.test.ts"] } })
