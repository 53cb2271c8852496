// What log lines and the progress line must agree on: a progress line that stands on the terminal is wiped before other
// text is printed, and drawn again with its next update.
#pragma once

namespace fathom {
bool stderr_is_terminal();
int terminal_columns();  // of stderr; 80 where it is no terminal
void set_progress_line_shown(bool shown);
void wipe_progress_line();
}  // namespace fathom
