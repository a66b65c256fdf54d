import { createContext, type ReactNode, useCallback, useContext, useState } from "react";

import { en, type Key } from "./en";
import { zh } from "./zh";

export type Language = "en" | "zh";
export type Values = Record<string, string | number>;
export type Say = (key: Key, values?: Values) => string;

const TABLES = { en, zh };
const KEPT = "xinfer.language";

export function say(language: Language, key: Key, values: Values = {}): string {
  return TABLES[language][key].replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

const Context = createContext<{ language: Language; choose: (language: Language) => void }>({ language: "en", choose: () => undefined });

export function Words({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState<Language>(() => {
    const kept = localStorage.getItem(KEPT);
    return kept === "zh" || kept === "en" ? kept : navigator.language.startsWith("zh") ? "zh" : "en";
  });
  const choose = useCallback((next: Language) => {
    localStorage.setItem(KEPT, next);
    document.documentElement.lang = next;
    setLanguage(next);
  }, []);
  return <Context.Provider value={{ language, choose }}>{children}</Context.Provider>;
}

export function useLanguage() {
  return useContext(Context);
}

export function useText(): Say {
  const { language } = useContext(Context);
  return useCallback((key, values) => say(language, key, values), [language]);
}
