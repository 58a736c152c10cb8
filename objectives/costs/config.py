"""The FPGA that a student is costed for."""

from pydantic import Field

from objectives.config import Config


class Hardware(Config):
    """Target part and clock; the defaults are the card and the 160 MHz that CICADA runs at.

    `clock_uncertainty` is the share of the period kept back when the design is pipelined.
    `adder_delay_ns` is what one adder with its routing is counted for when stages are cut.
    `compile_timeout_s` bounds the compilation of one student to its adder graph: a student that
    was hardly annealed can take minutes, and is not worth them.
    """

    # The part is written into tool scripts: nothing but what part names are made of.
    part: str = Field(default="xc7vx690tffg1927-2", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    clock_ns: float = Field(default=6.25, gt=0, le=1000)
    clock_uncertainty: float = Field(default=0.1, ge=0, lt=1)
    adder_delay_ns: float = Field(default=1.0, gt=0)
    compile_timeout_s: float = Field(default=60.0, gt=0)

    @property
    def adders_per_stage(self) -> float:
        """Adders in a row that fit between two registers, at least one."""
        return max(self.clock_ns * (1 - self.clock_uncertainty) / self.adder_delay_ns, 1.0)
