/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A full-screen view: heading lines, bars, one table and a footer, and the keys that people
 * press. It draws what it is given and knows nothing of agents. Texts are safe for a terminal.
 */
#ifndef AC_TUI_TUI_H
#define AC_TUI_TUI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum tui_style { TUI_PLAIN, TUI_DIM, TUI_BOLD, TUI_GOOD, TUI_WARNING, TUI_BAD, TUI_STYLE_COUNT };

struct tui_line {
    const char *text;
    enum tui_style style;
};

/* "CPU [|||||      ] 43.1% of 4 cores" */
struct tui_bar {
    const char *label;
    double percent; /* NaN: unknown, an empty bar */
    enum tui_style style;
    const char *text;
};

/* One picture. Pointers are borrowed during tui_draw. */
struct tui_frame {
    const struct tui_line *head;
    size_t n_head;
    const struct tui_bar *bars;
    size_t n_bars;
    const char *heading; /* the table's heading */
    const struct tui_line *rows;
    size_t n_rows;
    size_t selected;  /* highlighted row; SIZE_MAX = none */
    const char *foot; /* the last line */
};

/* Keys as tui_key returns them: characters as they are, and these. */
enum {
    TUI_NO_KEY = -1, /* the time is over, or a signal came */
    TUI_UP = 0x10000,
    TUI_DOWN,
    TUI_PAGE_UP,
    TUI_PAGE_DOWN,
    TUI_HOME,
    TUI_END,
    TUI_ENTER,
    TUI_ESCAPE,
    TUI_BACKSPACE,
    TUI_RESIZE,
    TUI_CLOSED, /* the terminal is gone */
};

struct tui;

/* Takes the terminal over. Returns 0; -ENOTTY where standard input or output is no terminal, or
 * the terminal is of no known type; -ENOMEM. One at a time. */
int tui_open(bool colour, struct tui **ret_tui, struct ac_error *error);

/* Gives it back as it was. NULL is fine. */
void tui_close(struct tui *tui);
void tui_closep(struct tui **tui);

/* Draws; the table scrolls so that the selected row is seen. */
void tui_draw(struct tui *tui, const struct tui_frame *frame);

/* Waits for a key up to @timeout_ms. */
int tui_key(struct tui *tui, int timeout_ms);

unsigned tui_width(const struct tui *tui);

/* How many rows of the table fit below @frame's heading: a page. */
size_t tui_page(const struct tui *tui, const struct tui_frame *frame);

#endif
