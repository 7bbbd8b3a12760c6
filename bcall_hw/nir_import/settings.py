"""What a NIR file leaves open, as choices in physical units."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from bcall_hw.errors import InvalidValue
from bcall_hw.network import Name, PositiveAmperes, PositiveSeconds
from bcall_hw.records import Record

Positive = Annotated[float, Field(gt=0)]
Levels = Annotated[int, Field(gt=0, le=1024, strict=True)]


class ImportSettings(Record):
    """Everything that the importer needs and a NIR file does not say.

    The defaults were chosen on training images of the 8 x 8 digits (`docs/nir_import.md`), never on held-out ones.

    Attributes:
        name: of the network.
        dt_s: length of one time step (s) of the file's model. Given: the file's time constants are counted in steps, as
            sinabs writes them. Absent: they are in seconds, and one above 1 s is refused.
        spike_s: how long the unit current of one spike lasts in the file's model (s): the step in which it was simulated. NIR's
            equations leave it open, and the charge of every event hangs on it. `dt_s` if absent; one of both is needed.
        normalised_input: an input current i drives v towards r i, as NIR's LIF says and sinabs does with `norm_input=True`.
            False: the model was built with `norm_input=False`, of which the file says nothing; its weights are jumps of v, and
            are divided by the decay in one time step: `dt_s`, or `spike_s` where that is absent. An IF has no decay.
        levels: largest multiplicity (CAM entries) of one synapse; one number, or layer name -> number, "*" for the others. More
            levels round finer but take more of a neuron's CAM entries.
        reserve: CAM entries of each neuron to leave free.
        tau_syn_s: time constant (s) of the synapses where the file has none (LIF, IF). NIR's LIF has instantaneous synapses; a
            chip's DPI has not, and a drive that is smoothed over some input intervals also keeps inhibition from being lost,
            because a soma's net drive cannot be negative.
        refractory_s: refractory period (s); NIR has none, a soma needs one.
        pulse_width_s: width of a synaptic pulse (s). Short: the weight current then lies well above the leak current of
            the DPI, and its full scale far above the working range.
        gain_a: membrane gain current I_th (A). Large: the soma integrates charge with a constant leak, which mismatch disturbs
            least. Far below the membrane current at a spike it forgets exponentially, but saturates.
        anchors: two rates, times the LIF's time constant, at which soma and LIF fire alike under the same constant drive. Two
            numbers of the soma follow: its leak and the current that stands for one threshold (`scale.fitted_scale`).
        keep_tau: give the soma the file's own time constant instead; only the geometric mean of the anchors is then met.
        if_anchor_hz: the one rate (Hz) at which the soma of an IF, with the longest time constant there is, fires as the IF.
    """

    name: Name = "nir"
    dt_s: PositiveSeconds | None = None
    spike_s: PositiveSeconds | None = None
    normalised_input: bool = True
    levels: Levels | dict[str, Levels] = 4
    reserve: Annotated[int, Field(ge=0, strict=True)] = 0
    tau_syn_s: PositiveSeconds = 0.005
    refractory_s: PositiveSeconds = 0.001
    pulse_width_s: PositiveSeconds = 5e-6
    gain_a: PositiveAmperes = 1e-8
    anchors: tuple[Positive, Positive] = (0.4, 2.0)
    keep_tau: bool = False
    if_anchor_hz: Positive = 50.0

    def __init__(self, /, **data: Any) -> None:
        super().__init__(**data)
        if self.anchors[0] >= self.anchors[1]:
            raise InvalidValue("anchors must ascend", where="ImportSettings.anchors", used=self.anchors)

    @property
    def unit_s(self) -> float:
        """Length of the file's unit of time (s)."""
        return 1.0 if self.dt_s is None else self.dt_s

    @property
    def event_s(self) -> float:
        """How long the unit current of one spike lasts (s).

        Raises:
            InvalidValue: neither `dt_s` nor `spike_s` is given.
        """
        width = self.dt_s if self.spike_s is None else self.spike_s
        if width is None:
            fix = (
                "Give spike_s, the time step in which the model was simulated; or dt_s, where its time constants are in steps."
            )
            raise InvalidValue("the charge of one spike is not known", where="ImportSettings", fix=fix)
        return width

    @property
    def step_s(self) -> float:
        """Length of the model's time step (s), over which its membranes decay: `spike_s` only where `dt_s` is absent.

        Raises:
            InvalidValue: neither `dt_s` nor `spike_s` is given.
        """
        return self.event_s if self.dt_s is None else self.dt_s

    def levels_of(self, layer: str) -> int:
        """Largest multiplicity in a layer.

        Raises:
            InvalidValue: a table without this layer and without "*".
        """
        if isinstance(self.levels, int):
            return self.levels
        found = self.levels.get(layer, self.levels.get("*"))
        if found is None:
            fix = 'Name the layer, or "*" for all others.'
            raise InvalidValue("no levels for the layer", where="ImportSettings.levels", used=layer, fix=fix)
        return found
