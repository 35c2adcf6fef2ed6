/* SPDX-License-Identifier: Apache-2.0 */
#include "tui.h"

#include <curses.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <term.h>
#include <unistd.h>

#include "base/mem.h"

#define ESCAPE_DELAY_MS 25

struct tui {
    SCREEN *screen;
    bool colour;
    size_t first; /* topmost row of the table on the screen */
};

static const short colours[TUI_STYLE_COUNT] = {-1, -1, -1, COLOR_GREEN, COLOR_YELLOW, COLOR_RED};

int tui_open(bool colour, struct tui **ret_tui, struct ac_error *error)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return error_set(error, -ENOTTY, "standard input and output are no terminal");
    /* newterm leaks where it does not know the terminal, so we look first. */
    int status = 0;
    if (setupterm(NULL, STDOUT_FILENO, &status) != OK)
        return error_set(error, -ENOTTY, "the type of this terminal (TERM) is not known");
    del_curterm(cur_term);
    struct tui *tui = mem_alloc(sizeof(*tui));
    if (!tui)
        return error_errno(error, -ENOMEM, "opening the terminal");
    tui->screen = newterm(NULL, stdout, stdin);
    if (!tui->screen) {
        mem_free(tui);
        return error_set(error, -ENOTTY, "the terminal cannot be used");
    }
    set_term(tui->screen);
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    set_escdelay(ESCAPE_DELAY_MS);
    curs_set(0);
    tui->colour = colour && has_colors() && start_color() == OK && use_default_colors() == OK;
    for (short i = 1; tui->colour && i < TUI_STYLE_COUNT; i++)
        init_pair(i, colours[i], -1);
    *ret_tui = tui;
    return 0;
}

void tui_close(struct tui *tui)
{
    if (!tui)
        return;
    endwin();
    delscreen(tui->screen);
    mem_free(tui);
}

void tui_closep(struct tui **tui)
{
    tui_close(*tui);
}

unsigned tui_width(const struct tui *tui)
{
    (void)tui;
    return COLS > 0 ? (unsigned)COLS : 80;
}

static attr_t attribute(const struct tui *tui, enum tui_style style)
{
    attr_t plain = style == TUI_BOLD ? A_BOLD : style == TUI_DIM ? A_DIM : A_NORMAL;
    if (tui->colour && colours[style] >= 0)
        return plain | (attr_t)COLOR_PAIR(style);
    return style == TUI_BAD ? A_BOLD : plain;
}

/* One line from the left edge; what is too long is cut by the window. */
static void put_line(const struct tui *tui, int y, const char *text, enum tui_style style, bool lit)
{
    attr_t attributes = attribute(tui, style) | (lit ? A_REVERSE : 0);
    attrset(attributes);
    move(y, 0);
    clrtoeol();
    addnstr(text, -1);
    for (int x = getcurx(stdscr); lit && getcury(stdscr) == y && x < COLS - 1; x++)
        addch(' ');
    attrset(A_NORMAL);
}

static void put_bar(const struct tui *tui, int y, const struct tui_bar *bar)
{
    int width = COLS > 100 ? 40 : COLS > 60 ? 24 : 10;
    double part = isfinite(bar->percent) ? fmin(fmax(bar->percent / 100, 0), 1) : 0;
    int full = (int)(part * width + 0.5);
    move(y, 0);
    clrtoeol();
    attrset(A_BOLD);
    printw("%-5s", bar->label);
    attrset(A_NORMAL);
    addch('[');
    attrset(attribute(tui, bar->style));
    for (int i = 0; i < full; i++)
        addch('|');
    attrset(A_NORMAL);
    for (int i = full; i < width; i++)
        addch(' ');
    addstr("] ");
    addnstr(bar->text, -1);
}

static size_t rows_above(const struct tui_frame *frame)
{
    return frame->n_head + frame->n_bars + 1; /* with the columns' heading */
}

size_t tui_page(const struct tui *tui, const struct tui_frame *frame)
{
    (void)tui;
    size_t taken = rows_above(frame) + 1; /* with the footer */
    return LINES > 0 && (size_t)LINES > taken ? (size_t)LINES - taken : 1;
}

/* Keeps the selected row, and as many rows as possible, on the screen. */
static void scroll_to(struct tui *tui, const struct tui_frame *frame)
{
    size_t page = tui_page(tui, frame);
    size_t last = frame->n_rows > page ? frame->n_rows - page : 0;
    if (frame->selected != SIZE_MAX && frame->selected < tui->first)
        tui->first = frame->selected;
    if (frame->selected != SIZE_MAX && frame->selected >= tui->first + page)
        tui->first = frame->selected - page + 1;
    tui->first = MIN(tui->first, last);
}

void tui_draw(struct tui *tui, const struct tui_frame *frame)
{
    int y = 0;
    scroll_to(tui, frame);
    erase();
    for (size_t i = 0; i < frame->n_head; i++)
        put_line(tui, y++, frame->head[i].text, frame->head[i].style, false);
    for (size_t i = 0; i < frame->n_bars; i++)
        put_bar(tui, y++, &frame->bars[i]);
    put_line(tui, y++, frame->heading, TUI_BOLD, true);
    size_t end = MIN(frame->n_rows, tui->first + tui_page(tui, frame));
    for (size_t i = tui->first; i < end && y < LINES - 1; i++)
        put_line(tui, y++, frame->rows[i].text, frame->rows[i].style, i == frame->selected);
    put_line(tui, LINES - 1, frame->foot, TUI_DIM, false);
    refresh();
}

static int key_of(int key)
{
    switch (key) {
    case KEY_UP:
        return TUI_UP;
    case KEY_DOWN:
        return TUI_DOWN;
    case KEY_PPAGE:
        return TUI_PAGE_UP;
    case KEY_NPAGE:
        return TUI_PAGE_DOWN;
    case KEY_HOME:
        return TUI_HOME;
    case KEY_END:
        return TUI_END;
    case KEY_ENTER:
    case '\r':
    case '\n':
        return TUI_ENTER;
    case 27:
        return TUI_ESCAPE;
    case KEY_BACKSPACE:
    case 127:
    case 8:
        return TUI_BACKSPACE;
    case KEY_RESIZE:
        return TUI_RESIZE;
    default:
        return key >= 0 && key < 0x100 ? key : TUI_NO_KEY;
    }
}

/* A terminal that hung up reads as empty, at once and without an error. */
static bool terminal_gone(void)
{
    struct pollfd input = {.fd = STDIN_FILENO};
    return poll(&input, 1, 0) > 0 && (input.revents & (POLLHUP | POLLERR | POLLNVAL));
}

int tui_key(struct tui *tui, int timeout_ms)
{
    (void)tui;
    timeout(timeout_ms);
    errno = 0;
    int key = getch();
    bool failed = key == ERR && errno != EINTR && errno != EAGAIN && errno != 0;
    if (failed || (key == ERR && terminal_gone()))
        return TUI_CLOSED;
    return key == ERR ? TUI_NO_KEY : key_of(key);
}
