import { AppShell, Badge, Burger, Button, Group, NavLink, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import type { ReactNode } from "react";
import { Link, useLocation, useNavigate } from "react-router-dom";

import { session } from "../api/client";
import { useLanguage, useText } from "../i18n";
import type { Key } from "../i18n/en";
import { useView } from "../stream/hooks";

const PAGES: readonly (readonly [string, Key])[] = [["/", "nav.cluster"], ["/launch", "nav.launch"], ["/playground", "nav.playground"], ["/logs", "nav.logs"]];

export function Shell({ children }: { children: ReactNode }) {
  const text = useText();
  const [opened, { toggle, close }] = useDisclosure();
  const { pathname } = useLocation();
  return (
    <AppShell header={{ height: 52 }} navbar={{ width: 190, breakpoint: "sm", collapsed: { mobile: !opened } }} padding="md">
      <a className="skip" href="#content">{text("nav.skip")}</a>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="xs" wrap="nowrap">
            <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={text("nav.menu")} aria-expanded={opened} />
            <Link to="/" style={{ textDecoration: "none", color: "inherit", fontWeight: 700, fontSize: 18 }}>xinfer</Link>
            <LineBadge />
          </Group>
          <Switches />
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs">
        <nav>
          {PAGES.map(([to, key]) => (
            <NavLink key={to} component={Link} to={to} label={text(key)} onClick={close} active={to === "/" ? pathname === "/" : pathname.startsWith(to)} {...(to === pathname ? { "aria-current": "page" as const } : {})} />
          ))}
          <NavLink href="/docs" label={text("nav.api")} />
        </nav>
      </AppShell.Navbar>
      <AppShell.Main id="content" tabIndex={-1}>{children}</AppShell.Main>
    </AppShell>
  );
}

function LineBadge() {
  const text = useText();
  const { line, cluster } = useView();
  const state = line === "live" && !cluster.present ? "away" : line;
  const colour = { live: "brand", connecting: "gray", broken: "red", away: "orange" }[state];
  return <Badge color={colour} variant="light" size="sm" role="status" data-line={state}>{text(`line.${state}`)}</Badge>;
}

function Switches() {
  const text = useText();
  const { language, choose } = useLanguage();
  const { setColorScheme } = useMantineColorScheme();
  const dark = useComputedColorScheme("light") === "dark";
  const go = useNavigate();
  const leave = () => {
    session.leave();
    void go("/login");
  };
  return (
    <Group gap={4} wrap="nowrap">
      <Button size="compact-xs" variant="subtle" onClick={() => choose(language === "en" ? "zh" : "en")} lang={language === "en" ? "zh" : "en"}>{text("nav.language")}</Button>
      <Button size="compact-xs" variant="subtle" onClick={() => setColorScheme(dark ? "light" : "dark")} title={text("nav.theme")}>{text(dark ? "nav.light" : "nav.dark")}</Button>
      {session.key() && <Button size="compact-xs" variant="subtle" onClick={leave}>{text("nav.leave")}</Button>}
    </Group>
  );
}
