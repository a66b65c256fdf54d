import { createTheme, type MantineColorsTuple } from "@mantine/core";

const teal: MantineColorsTuple = ["#e9f7f4", "#d5ebe6", "#a8d6cc", "#78c0b1", "#50ad9a", "#38a18c", "#2a9b85", "#1c7f6c", "#0f7261", "#005f4f"];

export const theme = createTheme({
  primaryColor: "brand",
  colors: { brand: teal },
  primaryShade: { light: 8, dark: 7 },
  fontFamily: "Inter, system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'PingFang SC', 'Microsoft YaHei', sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', 'Cascadia Mono', 'DejaVu Sans Mono', monospace",
  defaultRadius: "sm",
  headings: { fontWeight: "600" },
  autoContrast: true,
});
