/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, closing and looking at the history as a whole. */
#include <errno.h>
#include <string.h>
#include <sys/file.h>

#include "base/clock.h"
#include "base/io.h"
#include "store/hist_internal.h"

#define DAY_NS (24 * UINT64_C(3600) * NS_PER_SEC)

static void set_defaults(struct history_options *o)
{
    o->keep_raw_ns = o->keep_raw_ns ? o->keep_raw_ns : 2 * DAY_NS;
    o->keep_minutes_ns = o->keep_minutes_ns ? o->keep_minutes_ns : 14 * DAY_NS;
    o->keep_hours_ns = o->keep_hours_ns ? o->keep_hours_ns : 30 * DAY_NS;
    o->keep_days_ns = o->keep_days_ns ? o->keep_days_ns : 730 * DAY_NS;
}

static int make_path(struct store *store, const char *directory, struct buf *path)
{
    if (directory != NULL)
        return buf_printf(path, "%s/" HIST_FILE, directory);
    const char *slash = strrchr(store->path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - store->path) + 1;
    buf_append(path, store->path, length);
    return buf_append_str(path, HIST_FILE);
}

/* That of the store is checked already. */
static int open_directory(struct history *history, struct store *store, struct ac_error *error)
{
    const char *path = history->options.directory;
    int fd = path == NULL ? fcntl(store->dir_fd, F_DUPFD_CLOEXEC, 0)
                          : io_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return error_errno(error, path == NULL ? -errno : fd, "%s", path == NULL ? "state" : path);
    history->dir_fd = fd;
    return 0;
}

/* SQLite's own locks let two writers take turns; slots would not survive that. */
static int lock_file(struct history *history, const char *path, struct ac_error *error)
{
    static const char name[] = HIST_FILE ".lock";
    int fd = io_openat(history->dir_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (fd == -EROFS || fd == -EACCES)
        fd = io_openat(history->dir_fd, name, O_RDONLY | O_NOFOLLOW, 0);
    if (fd < 0)
        return error_errno(error, fd, "%s.lock", path);
    history->lock_fd = fd;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(error, -EBUSY, "%s: another process has this history open", path);
    return 0;
}

static int init(struct history *history)
{
    uint64_t seed = (uint64_t)clock_wall_ns();
    history->next_subject = 1;
    history->next_tenure = 1;
    history->before = &history->states[0];
    history->now = &history->states[1];
    pthread_mutex_init(&history->lock, NULL);
    pthread_mutex_init(&history->query_lock, NULL);
    pthread_mutex_init(&history->shown_lock, NULL);
    if (strmap_new(seed, &history->by_key) < 0 || frame_codec_new(&history->codec) < 0 ||
        hist_merge_new(&history->merge) < 0 || hist_top_new(&history->top) < 0)
        return -ENOMEM;
    return 0;
}

static int open_file(struct history *history, struct store *store, struct ac_error *error)
{
    struct buf path CLEANUP(buf_done) = {0};
    const struct history_options *o = &history->options;
    if (make_path(store, o->directory, &path) < 0 || init(history) < 0)
        return error_set(error, -ENOMEM, "no memory");
    int r = open_directory(history, store, error);
    if (r == 0)
        r = lock_file(history, path.data, error);
    if (r == 0)
        r = hist_db_open(
            history->dir_fd, path.data, o->vfs, false, o->full_sync, &history->write, error);
    if (r == 0)
        r = hist_db_open(history->dir_fd, path.data, o->vfs, true, false, &history->read, error);
    if (r == 0)
        r = hist_recover(history, error);
    return r == 0 && o->background ? hist_worker_start(history) : r;
}

int history_open(struct store *store, const struct history_options *options,
    struct history **ret_history, struct ac_error *error)
{
    struct history *history = mem_alloc(sizeof(*history));
    if (history == NULL)
        return error_set(error, -ENOMEM, "no memory");
    history->options = *options;
    history->options.directory = NULL;
    history->dir_fd = history->lock_fd = -1;
    history->none = store == NULL && options->directory == NULL;
    set_defaults(&history->options);
    if (!history->none) {
        history->options.directory = options->directory;
        int r = open_file(history, store, error);
        history->options.directory = NULL; /* the caller's */
        if (r < 0) {
            history_close(history);
            return hist_explain(r, error);
        }
    }
    *ret_history = history;
    return 0;
}

void history_close(struct history *history)
{
    if (history == NULL)
        return;
    hist_worker_stop(history);
    hist_counters_settle(history);
    hist_db_close(&history->read);
    hist_db_close(&history->write); /* the last connection truncates the log */
    io_closep(&history->lock_fd);
    io_closep(&history->dir_fd);
    if (!history->none) {
        hist_slots_done(history);
        frame_codec_free(history->codec);
        frame_state_done(&history->states[0]);
        frame_state_done(&history->states[1]);
        hist_merge_free(history->merge);
        hist_top_free(history->top);
        pthread_mutex_destroy(&history->lock);
        pthread_mutex_destroy(&history->query_lock);
        pthread_mutex_destroy(&history->shown_lock);
    }
    buf_done(&history->scratch);
    mem_free(history->closed);
    mem_free(history);
}

static uint64_t memory_of(const struct history *history)
{
    uint64_t bytes = sizeof(*history) + history->scratch.capacity;
    bytes += (uint64_t)history->slots_room * sizeof(*history->slots);
    for (uint32_t i = 0; i < history->slots_room; i++) {
        for (unsigned c = 0; c < FRAME_COLUMNS; c++)
            bytes += history->slots[i].streams[c].room;
    }
    uint64_t arrays = FRAME_COLUMNS + 2 * HIST_COUNTERS;
    bytes += 2 * (uint64_t)history->before->room * arrays * sizeof(uint64_t);
    return bytes + hist_top_memory(history->top);
}

void hist_status_note(struct history *history, bool sizes)
{
    struct history_status *status = &history->status;
    status->raw_since_ns = history->budget_cutoff_ms[0] * MS;
    status->subjects = history->used_slots;
    if (sizes) {
        status->memory_bytes = memory_of(history);
        hist_db_size(&history->write, &status->file_bytes, NULL);
    }
    pthread_mutex_lock(&history->shown_lock);
    history->shown = *status;
    pthread_mutex_unlock(&history->shown_lock);
}

void history_status(struct history *history, struct history_status *ret_status)
{
    if (history->none) {
        *ret_status = (struct history_status){0};
        return;
    }
    if (pthread_mutex_trylock(&history->lock) == 0) {
        hist_status_note(history, history->worker == NULL); /* else the recording thread does */
        pthread_mutex_unlock(&history->lock);
    }
    pthread_mutex_lock(&history->shown_lock);
    *ret_status = history->shown;
    pthread_mutex_unlock(&history->shown_lock);
    ret_status->damaged = atomic_load(&history->damaged);
    hist_worker_status(history, ret_status);
}
