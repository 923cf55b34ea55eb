"""The numeric tests of the host's kernels that another machine runs as well: kernels against numpy, of every kind of region."""

import test_host_kernels_attend as attend
import test_host_kernels_linear as linear
import test_host_kernels_recurrent as recurrent

FORMATS = linear.CODED + linear.PLAIN
every_format = linear.test_every_format


def regions():
    linear.test_parts_of_different_formats_share_the_input()
    linear.test_zipped_parts()
    linear.test_norm_before_and_residual_after()
    linear.test_outliers_and_bad_numbers()
    linear.test_experts(shared=True)
    linear.test_one_plane_is_eight_bits()


def attention():
    for form in ("f32", "f16", "q8", "q4"):
        attend.test_decode(127, form)
    for form in ("asym2", "asym3", "asym4", "fwht3"):
        attend.test_rows_of_every_layout_with_and_without_wide_registers(form, "native")
    attend.test_sinks("q8")
    attend.test_rows_that_see_their_whole_segment(6, 250)


def recurrences():
    recurrent.test_delta_does_not_depend_on_chunks_neighbours_or_threads()
    recurrent.test_conv(4)
    recurrent.test_map_embeds_normalises_and_writes_the_cache()


KINDS = (regions, attention, recurrences)
