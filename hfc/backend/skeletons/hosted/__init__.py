"""hosted: experts that the host computes; a card has no kernel for them, only memory for what crosses."""

from hfc.backend.skeleton import Skeleton, always
from hfc.backend.skeletons.hosted.bind import HostedRegion, bind

SKELETON = Skeleton("hosted", (), HostedRegion, bind, always(lambda bound, arch: ()), (), tolerance=0.0)
