import { StrictMode, useCallback, useState } from "react";
import { createRoot } from "react-dom/client";

function Settings() {
  const [changes, setChanges] = useState(0);
  const [open, setOpen] = useState(true);
  const getToken = useCallback(async () => (await (await fetch("/token")).json()).token, []);
  return (
    <main>
      <h1>Settings</h1>
      <p role="status">Changes: {changes}</p>
      <button onClick={() => setOpen(!open)}>{open ? "Hide" : "Show"}</button>
      {open && (
        <llm-settings-panel
          className="w-full"
          getToken={getToken}
          onllm-settings-change={() => setChanges((count) => count + 1)}
        />
      )}
    </main>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <Settings />
  </StrictMode>,
);
