/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making, filling, setting and removing cgroup v2 directories. Mechanism only: what to set is a
 * plan's business. Everything is relative to directory descriptors.
 */
#ifndef AC_OS_CGROUP_WRITE_H
#define AC_OS_CGROUP_WRITE_H

#include <stdint.h>

/* Opens the root of the cgroup v2 mount, wherever it is (hybrid hosts have it below "unified").
 * Returns the descriptor (the caller's); -ENOENT without one; -errno. */
int cgroup_root_open(void);

/* Makes @name below @parent_fd, or opens it where it is. One component, no "/" and no "..".
 * Returns the descriptor (the caller's), -EINVAL, -errno. */
int cgroup_make(int parent_fd, const char *name);

/* Hands the controllers that @parent_fd has to its children, each as far as that works ("+cpu",
 * "+memory", "+io", "+pids"). Returns how many are on; -errno where the file cannot be opened. */
int cgroup_enable_controllers(int parent_fd);

/* Moves a process, with all its threads. Returns 0; -ESRCH; -errno. */
int cgroup_move(int dir_fd, int32_t pid);

/* Writes @value ("max", "512M" is not understood: bytes) to @file. Returns 0 or -errno. */
int cgroup_set(int dir_fd, const char *file, const char *value);
int cgroup_set_number(int dir_fd, const char *file, uint64_t value);

/* cpu.max: @cores of CPU time per second; 0 = no limit. */
int cgroup_set_cores(int dir_fd, double cores);

/* Kills every process in it and below (5.14), stops it, lets it go on. Return 0 or -errno. */
int cgroup_kill(int dir_fd);
int cgroup_freeze(int dir_fd, int frozen);

/* Removes the empty group @name. Returns 0 (also where there is none); -EBUSY; -errno. */
int cgroup_remove(int parent_fd, const char *name);

#endif
