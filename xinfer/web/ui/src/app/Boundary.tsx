import { Alert, Button } from "@mantine/core";
import { Component, type ReactNode } from "react";

import { useText } from "../i18n";

/** A page that breaks leaves the others alone. */
export class Boundary extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state = { error: null as Error | null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    if (this.state.error) return <Broken error={this.state.error} again={() => this.setState({ error: null })} />;
    return this.props.children;
  }
}

function Broken({ error, again }: { error: Error; again: () => void }) {
  const text = useText();
  return (
    <Alert color="red" title={text("load.error")} role="alert">
      <p className="wrap">{error.message}</p>
      <Button size="xs" onClick={again}>{text("load.again")}</Button>
    </Alert>
  );
}
