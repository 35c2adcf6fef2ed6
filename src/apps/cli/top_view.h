/* SPDX-License-Identifier: Apache-2.0 */
/* What top shows: data from the daemon, made into a picture for the terminal. */
#ifndef AC_CLI_TOP_VIEW_H
#define AC_CLI_TOP_VIEW_H

#include "apps/cli/agent_list.h"
#include "apps/tui/tui.h"

struct top_setting {
    enum agent_sort sort;
    bool reverse;
    char filter[128];
    bool quiet;            /* errors go to .error instead of standard error */
    struct ac_error error; /* why the last fetch failed */
};

struct top_data {
    json_t *system;
    json_t *alerts;
    struct agent_list list;
};

/* Asks the daemon. Returns 0 or an exit status, with @ret_data untouched. */
int top_fetch(struct cli *cli, struct top_setting *setting, struct top_data *ret_data);
void top_data_done(struct top_data *data);

/* The machine's and the alerts' lines, for the plain form. */
void top_print_head(const struct cli *cli, const struct top_data *data);

/* The full-screen form. */
struct top_screen {
    struct cli *cli;
    struct top_setting *setting;
    struct tui *tui;
    struct top_data data; /* the last that was fetched */
    bool have_data;
    char selected[132]; /* the id of the highlighted agent; "" = the first */
    size_t place;       /* and its row */
    bool filtering;     /* the filter is being typed */
    bool paused;
    bool quit;
};

/* Fetches and draws. A daemon that does not answer for a while is shown, not an error. Returns 0
 * or an exit status. */
int top_screen_refresh(struct top_screen *screen);

/* Does what a key asks for, and draws. */
void top_screen_key(struct top_screen *screen, int key);

#endif
