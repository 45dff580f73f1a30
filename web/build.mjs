// `node web/build.mjs FILE`: the viewer of reports, with all that it needs, as one script.
import { fileURLToPath } from "node:url"
import { build } from "esbuild"

await build({
  entryPoints: [fileURLToPath(new URL("main.tsx", import.meta.url))],
  outfile: process.argv[2],
  bundle: true,
  format: "iife",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  loader: { ".css": "text" },
  minify: true,
  legalComments: "none",
  logLevel: "warning"
})
