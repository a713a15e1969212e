import { StrictMode, useCallback, useState } from "react";
import { createRoot } from "react-dom/client";

function Settings() {
  const [changes, setChanges] = useState(0);
  const getToken = useCallback(async () => {
    const answer = await fetch("/panel-token", { method: "POST" });
    if (!answer.ok) throw new Error("no token for the settings panel");
    return (await answer.json()).token;
  }, []);
  return (
    <main>
      <h1>Settings of my application</h1>
      <p role="status">Changes so far: {changes}</p>
      <llm-settings-panel
        class="w-full"
        getToken={getToken}
        onllm-settings-change={() => setChanges((count) => count + 1)}
      />
    </main>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <Settings />
  </StrictMode>,
);
