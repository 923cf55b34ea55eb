"""hfp4g32: four-bit floats, an exponent for every 32, an f16 scale for every row. 4.25 bits a weight and 16 bytes a row."""

from hfc.formats.hfp import hfp
from hfc.formats.quant import hfp4b256

FORMAT = hfp("hfp4g32", hfp4b256.FORMAT)
