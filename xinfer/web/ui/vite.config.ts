import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [react()],
  build: { outDir: "../dist", emptyOutDir: true, assetsInlineLimit: 0, sourcemap: false, target: "es2022", cssTarget: ["chrome123", "firefox120", "safari17.5"] },
  server: { proxy: { "/v1": "http://127.0.0.1:9997", "/rerank": "http://127.0.0.1:9997" } },
  test: { environment: "jsdom", setupFiles: ["src/test-setup.ts"], include: ["src/**/*.test.{ts,tsx}"] },
});
