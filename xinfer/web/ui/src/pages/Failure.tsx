import { Alert } from "@mantine/core";

/** What went wrong, in the server's words. */
export function Failure({ error }: { error: Error }) {
  return <Alert color="red" variant="light" p="xs" role="alert"><span className="wrap">{error.message}</span></Alert>;
}
